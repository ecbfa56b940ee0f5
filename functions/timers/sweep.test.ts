import type { InvocationContext, Timer } from '@azure/functions'
import { describe, expect, test } from 'vitest'
import { sweepHandler } from './sweep.ts'

/** What one run writes, over a gateway that sweeps as the test says. */
async function run(
  sweep: (
    signal: AbortSignal,
  ) => Promise<{ completions: number; generations: number; changes: number; shadows: number }>,
) {
  const written: [string, Record<string, unknown>][] = []
  const write = (level: string) => (line: string) => written.push([level, JSON.parse(line)])
  const invocation = { info: write('info'), error: write('error') } as unknown as InvocationContext
  await sweepHandler(() => ({ sweep }))({} as Timer, invocation)
  return written
}

describe('the sweep', () => {
  test('tells what it removed, and how long that took', async () => {
    expect(await run(async () => ({ completions: 3, generations: 1, changes: 2, shadows: 4 }))).toEqual([
      [
        'info',
        { event: 'cache swept', completions: 3, generations: 1, changes: 2, shadows: 4, ms: expect.any(Number) },
      ],
    ])
  })

  test('tells nothing where there was nothing to remove', async () => {
    expect(await run(async () => ({ completions: 0, generations: 0, changes: 0, shadows: 0 }))).toEqual([])
  })

  test('does not fail when the tables do, or the settings can’t be read, and tells the kind of fault alone', async () => {
    const fails = () => {
      throw Object.assign(new Error('SECRET'), { statusCode: 503 })
    }
    const [line, ...more] = await run(async () => fails())
    expect(line).toEqual(['error', expect.objectContaining({ event: 'cache sweep failed', statusCode: 503 })])
    expect(more).toEqual([])
    expect(JSON.stringify(line)).not.toContain('SECRET')
    expect(await run(fails)).toHaveLength(1)
  })
})
