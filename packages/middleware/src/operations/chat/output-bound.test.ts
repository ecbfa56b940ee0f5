import { expect, test } from 'vitest'
import { type ChatBody, outputBound, statesOutput, withOutputBound } from '../index.ts'

const body = (change: object): ChatBody => ({ model: 'm', messages: [], ...change })

test.each<[object, ReturnType<typeof outputBound>]>([
  [{ max_tokens: 5 }, { each: 5, choices: 1 }],
  [
    { max_completion_tokens: 5, n: 3 },
    { each: 5, choices: 3 },
  ],
  [
    { max_completion_tokens: 5, max_tokens: 9 },
    { each: 9, choices: 1 },
  ],
  [
    { max_completion_tokens: null, max_tokens: 9, n: null },
    { each: 9, choices: 1 },
  ],
  [{}, undefined],
  [{ max_tokens: 5, n: 0 }, undefined],
  [{ max_tokens: 5, n: '3' }, undefined],
  [{ max_tokens: '5' }, undefined],
  [{ max_completion_tokens: 5, max_tokens: 0.5 }, undefined],
  [{ max_tokens: Number.MAX_SAFE_INTEGER, n: 2 }, undefined],
])('the bound that %o states', (change, bound) => {
  expect(outputBound(body(change))).toEqual(bound)
})

test.each([
  [{}, { max_tokens: 7 }],
  [{ max_completion_tokens: null }, { max_completion_tokens: 7 }],
  [
    { max_completion_tokens: 9, max_tokens: 8 },
    { max_completion_tokens: 7, max_tokens: 7 },
  ],
])('another bound goes where %o has one', (change, expected) => {
  expect(withOutputBound(body(change), 7)).toEqual(body(expected))
})

test('a bound of null is none', () => {
  expect([statesOutput(body({ max_tokens: null })), statesOutput(body({ max_tokens: 1 }))]).toEqual([false, true])
})
