import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { expect, test } from 'vitest'
import { encodeStream } from './encode-stream.ts'

const MIB = 1024 * 1024

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

function heldBytes(): number {
  collectGarbage()
  return process.memoryUsage().arrayBuffers
}

test('C2: a stream keeps nothing of what it reads while it is silent', async () => {
  let write!: ReadableStreamDefaultController<Uint8Array>
  const source = new ReadableStream<Uint8Array>({
    start(controller) {
      write = controller
    },
  })
  const encoder = { chunk: () => 'a', end: () => 'end', failed: () => 'failed' }
  const reader = encodeStream(source, { encoder, heartbeatMs: 60_000, onBroken: () => {} }).getReader()
  const reading = reader.read()
  const before = heldBytes()
  for (let i = 0; i < 64; i += 1) {
    write.enqueue(new Uint8Array(MIB).fill(58))
    await new Promise((resolve) => setImmediate(resolve))
  }
  await expect.poll(() => heldBytes() - before).toBeLessThan(8 * MIB)
  write.enqueue(Buffer.from('\ndata: {"choices":[{"delta":{"content":"a"},"finish_reason":"stop"}]}\n\n'))
  write.close()
  expect(Buffer.from((await reading).value ?? []).toString()).toBe('data: a\n\n')
  await reader.cancel()
})
