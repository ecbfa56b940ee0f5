import { expect, test } from 'vitest'
import { finishedRequest } from '../../../../test/support/traced-request.ts'
import { usageRow } from './row.ts'

test('a row has of a call what it took, and nothing that only telemetry needs', () => {
  const [attempt] = usageRow(finishedRequest()).attempts ?? []
  expect(attempt).toEqual({
    model: 'chat',
    target: 'azure/gpt',
    ms: 1_234.5,
    usage: { input: 100, cachedInput: 40, output: 20, cacheWrite: 5, reasoning: 7 },
    costNanoUsd: 123_456,
  })
})
