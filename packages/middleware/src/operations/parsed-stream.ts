import type { Usage } from '../pipeline/index.ts'
import { BrokenStream } from './broken-stream.ts'
import type { StreamParser } from './operation.ts'
import { type ServerSentEvent, serverSentEvents } from './server-sent-events.ts'
import type { StreamEvent } from './stream-event.ts'
import { UsageTally } from './usage-tally.ts'

/** The longest single event that is waited for, in bytes: an image in base64 fits, and a whole response. */
export const MAX_EVENT_BYTES = 4 * 1024 * 1024

const UNREADABLE = Symbol('unreadable')

/** Of an event that can't be read. If it is the last one, it may have been cut. */
export function unreadable(): BrokenStream {
  return new BrokenStream({ code: 'invalid_response' }, { cause: UNREADABLE })
}

/**
 * The frame of a stream of server-sent events: how it is fed, closed and tallied. Which of its events are an answer's, and when that
 * is whole, is the operation's.
 *
 * A class, as all that tells of its state here: an object literal with getters gets a shape of its own each time it is made, which
 * makes all that reads it slow, and keeps the stream in memory until the collector looks at everything.
 */
export abstract class ParsedStream implements StreamParser {
  abstract readonly begun: boolean
  abstract readonly finished: boolean
  ended: StreamParser['ended']
  isEmpty = false
  protected readonly tally = new UsageTally()
  /** Whether anything came that is no answer. */
  protected passedOver = false
  /** Output tokens that were told before the end of the answer. What is told then is of tokens that have been sent already. */
  protected toldOutput = 0
  protected completed: StreamEvent[] = []
  readonly #events: ReturnType<typeof serverSentEvents>

  constructor(keepsNames: boolean) {
    this.#events = serverSentEvents({
      maxBytes: MAX_EVENT_BYTES,
      keepsNames,
      onEvent: (event) => {
        if (this.ended === undefined) this.receive(event)
      },
    })
  }

  protected abstract receive(event: ServerSentEvent): void
  /** How a stream has ended that just stopped. */
  protected abstract stopped(): 'whole' | BrokenStream

  feed(bytes: Uint8Array): readonly StreamEvent[] {
    if (this.ended !== undefined) return []
    this.#events.feed(bytes)
    if (this.#events.isTooLong) this.ended ??= new BrokenStream({ code: 'invalid_response' })
    return this.#taken()
  }

  close(): readonly StreamEvent[] {
    if (this.ended !== undefined) return []
    this.#events.close()
    // The last event may have been cut: then it is the stream that is at fault, and not what it says.
    if (this.ended === undefined || isUnreadable(this.ended)) this.ended = this.stopped()
    return this.#taken()
  }

  get output(): number {
    return Math.max(this.tally.counted, this.toldOutput)
  }
  get told(): Usage | undefined {
    return this.tally.told
  }
  get usage(): Usage | undefined {
    return this.tally.usage
  }

  #taken(): readonly StreamEvent[] {
    const events = this.completed
    this.completed = []
    return events
  }
}

function isUnreadable(ended: StreamParser['ended']): boolean {
  return ended instanceof BrokenStream && ended.cause === UNREADABLE
}
