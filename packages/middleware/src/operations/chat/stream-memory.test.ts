import { expect, test } from 'vitest'
import { bytesOutliving } from '../../../../../test/support/outliving.ts'
import { chatStream } from './stream.ts'

const EVENT = { choices: [{ index: 0, delta: { content: 'text' }, finish_reason: 'stop' }] }
const BYTES = Buffer.from(`${`data: ${JSON.stringify(EVENT)}\n\n`.repeat(4)}data: [DONE]\n\n`)

test('nothing of a stream that was read outlives it', () => {
  const read = () => {
    const parser = chatStream()
    parser.feed(BYTES)
    expect(parser.ended).toBe('whole')
  }
  expect(bytesOutliving(read, 10_000)).toBeLessThan(100)
})
