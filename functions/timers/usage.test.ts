import type { InvocationContext, Timer } from '@azure/functions'
import { describe, expect, test } from 'vitest'
import { usageHandler } from './usage.ts'

/** What one run writes, over a gateway that rolls up as the test says. */
async function run(rollUp: (signal: AbortSignal) => Promise<{ written: number; removed: number }>) {
  const lines: [string, Record<string, unknown>][] = []
  const write = (level: string) => (line: string) => lines.push([level, JSON.parse(line)])
  const invocation = { info: write('info'), error: write('error') } as unknown as InvocationContext
  await usageHandler(() => ({ rollUp }))({} as Timer, invocation)
  return lines
}

describe('the roll-up of usage', () => {
  test('tells what it wrote and removed, and nothing where that was nothing', async () => {
    expect(await run(async () => ({ written: 3, removed: 0 }))).toEqual([
      ['info', { event: 'usage rolled up', written: 3, removed: 0, ms: expect.any(Number) }],
    ])
    expect(await run(async () => ({ written: 0, removed: 0 }))).toEqual([])
  })

  test('does not fail when the tables do, and tells the kind of fault alone', async () => {
    const [line, ...more] = await run(async () => {
      throw Object.assign(new Error('SECRET'), { statusCode: 503 })
    })
    expect(line).toEqual(['error', expect.objectContaining({ event: 'usage not rolled up', statusCode: 503 })])
    expect(more).toEqual([])
    expect(JSON.stringify(line)).not.toContain('SECRET')
  })
})
