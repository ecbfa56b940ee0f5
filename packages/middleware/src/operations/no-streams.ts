import { BrokenStream } from './broken-stream.ts'
import type { Operation, StreamParser } from './operation.ts'

/**
 * For an operation whose answers come whole: a service that streams one nonetheless has not answered. Its surfaces never ask for a
 * stream.
 */
export const noStreams: Pick<Operation, 'stream' | 'assembler' | 'replay'> = {
  stream: () => new NoStream(),
  assembler: () => ({ add() {}, answer: () => undefined }),
  replay() {
    throw new Error('An operation without streams was asked for one')
  },
}

class NoStream implements StreamParser {
  readonly begun = false
  readonly finished = false
  readonly isEmpty = false
  readonly output = 0
  readonly told = undefined
  readonly usage = undefined
  readonly ended = new BrokenStream({ code: 'invalid_response' })
  feed(): [] {
    return []
  }
  close(): [] {
    return []
  }
}
