import { expect, test } from 'vitest'
import { bytesOutliving } from '../../../../../test/support/outliving.ts'
import { responseStream } from './stream.ts'

const delta = { type: 'response.output_text.delta', delta: 'text' }
const end = { type: 'response.completed', response: { status: 'completed', output: [] } }
const named = (event: { readonly type: string }) => `event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`
const BYTES = Buffer.from(named(delta).repeat(4) + named(end))

test('nothing of a stream that was read outlives it', () => {
  const read = () => {
    const parser = responseStream()
    parser.feed(BYTES)
    expect(parser.ended).toBe('whole')
  }
  expect(bytesOutliving(read, 10_000)).toBeLessThan(100)
})
