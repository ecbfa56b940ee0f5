import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { MAX_REQUEST_MS } from '@tollgate/azure-functions'
import { describe, expect, test } from 'vitest'
import { MAX_STREAM_TOTAL_MS, readSettings } from '../../functions/settings.ts'
import { ROOT } from '../support/host.ts'

const read = (file: string) => readFileSync(join(ROOT, file), 'utf8')

/** `hh:mm:ss` in milliseconds. */
function timeSpanMs(text: string): number {
  const [hours = 0, minutes = 0, seconds = 0] = text.split(':').map(Number)
  return ((hours * 60 + minutes) * 60 + seconds) * 1_000
}

const { functionTimeout } = JSON.parse(read('host.json')) as { functionTimeout: string }
const streamTotalMs = (ms: number) =>
  readSettings({ TOLLGATE_STORAGE: 'memory:', OPENAI_API_KEY: 'sk', TOLLGATE_STREAM_TOTAL_MS: `${ms}` }, ROOT)
    .streamTotalMs

describe('H3: the host’s time limit, at which it restarts the worker for everybody', () => {
  test('is above ours on a request, which is above the longest stream that the settings allow', () => {
    expect(functionTimeout).toMatch(/^\d\d:\d\d:\d\d$/)
    expect(streamTotalMs(MAX_STREAM_TOTAL_MS)).toBe(MAX_STREAM_TOTAL_MS)
    expect(() => streamTotalMs(MAX_STREAM_TOTAL_MS + 1)).toThrow('TOLLGATE_STREAM_TOTAL_MS')
    expect(MAX_REQUEST_MS).toBeGreaterThanOrEqual(MAX_STREAM_TOTAL_MS + 60_000)
    expect(timeSpanMs(functionTimeout)).toBeGreaterThanOrEqual(MAX_REQUEST_MS + 60_000)
  })

  test('is what the pages say', () => {
    expect(read('docs/settings.md')).toMatch(
      new RegExp(
        `TOLLGATE_STREAM_TOTAL_MS.*at most ${MAX_STREAM_TOTAL_MS}.*${timeSpanMs(functionTimeout) / 60_000} minutes`,
      ),
    )
    const page = read('docs/architecture.md')
    expect(page).toContain(`\`functionTimeout\` in \`host.json\` (${timeSpanMs(functionTimeout) / 60_000} minutes)`)
    expect(page).toContain(`reading, ${MAX_REQUEST_MS / 60_000} minutes`)
    expect(read('docs/generate.md')).toContain(`after ${MAX_REQUEST_MS / 60_000} minutes`)
  })
})
