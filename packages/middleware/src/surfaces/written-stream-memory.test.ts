import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { expect, test } from 'vitest'
import { playedSource } from '../../../../test/support/base-context.ts'
import { eventsIn, type StreamEvent } from '../operations/index.ts'
import { writtenStream } from './written-stream.ts'

const MIB = 1024 * 1024

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

function heldBytes(): number {
  collectGarbage()
  return process.memoryUsage().arrayBuffers
}

test('C2: a stream keeps nothing of what it reads while it is silent', async () => {
  const { source, give } = playedSource<readonly StreamEvent[]>()
  const writer = {
    write: ({ bytes }: StreamEvent) => (bytes.byteLength < MIB ? 'a' : undefined),
    end: () => 'end',
    failed: () => 'failed',
  }
  const stream = writtenStream(source, { writer, heartbeatMs: 60_000, ended: Promise.resolve(), onBroken: () => {} })
  const reading = stream.read()
  const before = heldBytes()
  for (let i = 0; i < 64; i += 1) {
    give([...eventsIn(new Uint8Array(MIB).fill(58))])
    await new Promise((resolve) => setImmediate(resolve))
  }
  await expect.poll(() => heldBytes() - before).toBeLessThan(8 * MIB)
  give([...eventsIn(Buffer.from('data: a\n\n'))])
  expect(Buffer.from((await reading) ?? []).toString()).toBe('a')
  stream.cancel()
})
