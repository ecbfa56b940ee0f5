import fc from 'fast-check'
import { expect, test } from 'vitest'
import { finishedRequest, miss } from '../../../../test/support/finished-request.ts'
import { type NewRow, rowPacker, unpackRows } from './packed-rows.ts'
import { usageRow } from './row.ts'

const NOON = Date.UTC(2026, 10, 27, 12)

/** What was packed, as it is read again. */
function again(rows: readonly NewRow[]): NewRow[] {
  const packer = rowPacker()
  for (const row of rows) packer.add(row)
  return unpackRows(Buffer.from(packer.take()))
}

/** Without what says nothing, which is not written. */
const told = (row: NewRow): unknown => JSON.parse(JSON.stringify(row))

const whole = fc.nat({ max: Number.MAX_SAFE_INTEGER })
const ms = fc.nat({ max: 10_000_000 }).map((hundredths) => hundredths / 100)
const word = fc.constantFrom('a', 'b', 'a name', '', 'ü')
const maybe = <T>(of: fc.Arbitrary<T>) => fc.option(of, { nil: undefined })
const digest = fc.uint8Array({ minLength: 32, maxLength: 32 }).map((bytes) => Buffer.from(bytes).toString('base64url'))

const row = fc.record({
  requestId: fc.oneof(
    fc.uuid(),
    fc.uuid().map((id) => id.toUpperCase()),
    fc.string({ minLength: 1, maxLength: 128 }),
  ),
  call: fc.nat(3),
  startedAt: fc.integer({ min: -5_000_000, max: 5_000_000 }).map((later) => NOON + later),
  ms,
  firstTokenMs: maybe(ms),
  status: fc.constantFrom(200, 429, 500),
  outcome: fc.constantFrom('answered', 'refused', 'failed', 'call'),
  refusal: maybe(word),
  param: maybe(word),
  retryAfterMs: maybe(whole),
  consumer: maybe(word),
  plan: maybe(word),
  promptHash: maybe(fc.oneof(digest, word, fc.constant(`${'a'.repeat(42)}b`))),
  model: maybe(word),
  reason: maybe(word),
  streamed: maybe(fc.boolean()),
  verdict: maybe(word),
  shadow: maybe(word),
  wouldRefuse: maybe(word),
  usage: maybe(fc.record({ input: whole, output: whole })),
  costNanoUsd: maybe(whole),
  savedNanoUsd: maybe(whole),
  attempts: maybe(
    fc.array(fc.record({ model: word, target: word, ms, price: maybe(fc.constant({ rates: { input: 1 } })) })),
  ),
  steps: fc.array(fc.record({ name: word, decision: word, ms })),
  left: maybe(fc.array(fc.record({ limit: word, measure: word, of: whole, most: maybe(whole), left: whole }))),
}) as fc.Arbitrary<object> as fc.Arbitrary<NewRow>

test('whatever is packed is read again', () => {
  fc.assert(
    fc.property(fc.array(row, { maxLength: 60 }), (rows) => {
      expect(again(rows).map(told)).toEqual(rows.map(told))
    }),
    { numRuns: 200 },
  )
})

test('rows of the first version, which are kept for a month, are read', () => {
  const [hit, answered, ...more] = unpackRows(Buffer.from(VERSION_1, 'base64'))
  expect(more).toEqual([])
  const { steps, ...expected } = told(usageRow(finishedRequest())) as NewRow
  expect(hit).toMatchObject({ ...expected, ms: 3.22 })
  expect(hit?.steps.map(({ decision }) => decision)).toEqual(steps.map(({ decision }) => decision))
  expect(answered).toMatchObject({
    requestId: 'r-2',
    startedAt: NOON + 5,
    stream: 'complete',
    firstTokenMs: 90.25,
    usage: miss(42).usage,
    costNanoUsd: 42,
    attempts: [{ target: 'azure-1', price: { rates: { input: 1_250, output: 10_000 } } }],
  })
})

test('a version that is not known, and what is cut off, is refused', () => {
  const packer = rowPacker()
  packer.add(usageRow(finishedRequest()))
  const bytes = Buffer.from(packer.take())
  expect(() => unpackRows(Buffer.concat([Buffer.of(0xff, 3), bytes.subarray(2)]))).toThrow('unknown form')
  for (let length = 0; length < bytes.byteLength; length += 1) {
    expect(() => unpackRows(bytes.subarray(0, length)), String(length)).toThrow()
  }
})

test('a hit takes some 60 bytes, of which its id and its hash are 48', () => {
  const packer = rowPacker()
  const count = 1_000
  for (let index = 0; index < count; index += 1) {
    const bytes = (length: number) => Buffer.from(Array.from({ length }, () => Math.floor(Math.random() * 256)))
    const id = bytes(16).toString('hex')
    const requestId = [id.slice(0, 8), id.slice(8, 12), id.slice(12, 16), id.slice(16, 20), id.slice(20)].join('-')
    const facts = { consumer: `c${index % 16}`, promptHash: bytes(32).toString('base64url') }
    const steps = finishedRequest().story.steps.map((step) => ({ ...step, ms: Math.random() }))
    packer.add(usageRow(finishedRequest({ requestId, startedAt: NOON + index, facts, story: { steps } })))
  }
  expect(packer.take().byteLength / count).toBeLessThan(64)
})

/** As the first version packed a hit, and an answer to a stream. */
const VERSION_1 = [
  '1VTLrtsgEP2XWY8rIHZis+ymD7VVVfWpyAsC4xsrxvgCTpob+d8r7NyHuqh01U3LihlmOMOZOVzgCJIjNN5ZkHxTFZuSlSwtBO2sdX0Aub2AVl',
  '0HkiGEqOIYQIoU4caonSWQoPpwIk8GUlofRks+ebtWEyAMnepBwuBdMlzX6jNIYFys8mK9KSu1A4Qw+kbpdJneq5hpZ4eOYpsqQHADeZWM63GK',
  'j56UJQOyUV0gBO/GeJ8OCNYZ6h7DtdL7dLpv45xMQ3rZFg50BoRD70491LiFrrVtTJDK2DZGMrN350wKM6SduboWOIR+LiKlLhA4Q9Q1QkdNnD',
  'E83Y4U5lsft5wxNme5Xo/eU5/q0veGPgMWrK4nfBb5Cynp1Qt9if1/vCG2DYnuEP+XjtQIg281LcrwKqbdBdp+GCNILopFGYuVpDRNdZrO0zJw',
  '64bripjKSlNQlqvVLquagjJhuGa7SpXNJnXtx8/idMu+7oQr7dtN/+6w0p/uPvPxdajMqyZXH+lb+/28Pr5k7wEZroTAjCPDLecoVrgqUGC+rn',
  'FbVQzzqsYLBHUk80H17kswIHnB2JQG0GfiuXjFjFcxUSD/E+IY1A09JYfjohLzZmHrCVWbKY1qiA8F5gJBxUh2iAvVvyk6Kn9DMX0zd6OnjAPC',
  'X+PZALLk4kVx7TFINtVTXU+/AA==',
].join('')
