import { once } from 'node:events'
import { setTimeout as pause } from 'node:timers/promises'
import { type ArrivedCall, HEALTHY, type Play, whole } from './played-target.ts'

/* What a model's server does other than answering well. */

export interface Fault {
  readonly name: string
  /** What it does with a call; left out where none can reach it. */
  readonly play?: (call: ArrivedCall) => Play
  /** Where it is, if it can't be reached. */
  readonly place?: string
  /** Whether a deadline ends it. */
  readonly isSlow?: true
  /** Whether its connection has carried a call before. */
  readonly isKept?: true
  readonly plain: Expected
  readonly stream: Expected
}

/** What a fault means, whatever the gateway makes of it. */
export interface Expected {
  /**
   * It is answered all the same; or it may be made again, for not a byte of an answer has come; or an answer had begun, which its model
   * is paid for, and is refused where none of it was passed on (`spoilt`), and broken off where some was (`broken`).
   */
  readonly means: 'answered' | 'failed' | 'spoilt' | 'broken'
  /** How long its server asks to be left alone, in milliseconds. */
  readonly waitMs?: number
}

export const RETRY_AFTER_MS = 7_000

const both = (expected: Expected) => ({ plain: expected, stream: expected })
const FAILED = both({ means: 'failed' })
const ASKED_TO_WAIT = both({ means: 'failed', waitMs: RETRY_AFTER_MS })
/** A plain answer that breaks off is none; of a stream, the beginning has gone out. */
const HALF = { plain: { means: 'spoilt' }, stream: { means: 'broken' } } as const

const unspent = (answer: Play['answer']) => ({ play: () => ({ taken: 'nothing', answer }) as const })
const untold = (answer: Play['answer']) => ({ play: () => ({ taken: 'untold', answer }) as const })

export const FAULTS: readonly Fault[] = [
  // Nothing listens on a port that takes root to open, and no other test can open it meanwhile.
  { name: 'connection refused', place: 'http://127.0.0.1:1', ...FAILED },
  // A label of more than 63 characters fails without a resolver being asked.
  { name: 'a name that DNS does not know', place: `https://${'x'.repeat(64)}.invalid`, ...FAILED },
  { name: 'connection reset', play: resetting, ...FAILED },
  {
    name: 'a kept connection that its other end has closed',
    isKept: true,
    play: (call) => (call.isReused ? resetting(call) : HEALTHY),
    ...both({ means: 'answered' }),
  },
  { name: 'no answer at all', isSlow: true, ...untold(() => {}), ...FAILED },
  { name: 'silence within the answer', isSlow: true, ...untold(half(() => {})), ...HALF },
  { name: '429 with `Retry-After` in seconds', ...unspent(failing(429, { 'retry-after': '7' })), ...ASKED_TO_WAIT },
  { name: '429 with `Retry-After` as a date', ...unspent(withDate), ...ASKED_TO_WAIT },
  { name: '429 with `retry-after-ms`', ...unspent(failing(429, { 'retry-after-ms': '7000' })), ...ASKED_TO_WAIT },
  { name: '429 without a time', ...unspent(failing(429)), ...FAILED },
  { name: '429 with a time that nobody can read', ...unspent(failing(429, { 'retry-after': 'soon' })), ...FAILED },
  { name: '500', ...untold(failing(500)), ...FAILED },
  { name: '503 with `Retry-After`', ...unspent(failing(503, { 'retry-after': '7' })), ...ASKED_TO_WAIT },
  { name: '503 without `Retry-After`', ...untold(failing(503)), ...FAILED },
  { name: 'a page of HTML with 502', ...untold(sending(502, 'text/html', '<h1>502 Bad Gateway</h1>')), ...FAILED },
  {
    name: '200 whose body is no JSON',
    ...untold(sending(200, 'application/json', '{"choices": [{')),
    ...both({ means: 'spoilt' }),
  },
  { name: 'connection cut within the answer', ...untold(half(({ socket }) => socket.destroy())), ...HALF },
  {
    name: 'an error in the place of an answer, or within it',
    ...untold((call) => {
      const error = call.wire.error('server_error')
      if (!call.streamed) return sending(200, 'application/json', error)(call)
      return half(({ response }) => response.end(`data: ${error}\n\n`))(call)
    }),
    ...HALF,
  },
  {
    name: 'an answer under another content type',
    play: () => ({ taken: 'told', answer: (call) => whole(call, { type: 'text/html' }) }),
    ...both({ means: 'answered' }),
  },
  { name: 'an answer of 40 MiB', ...untold(large), ...HALF },
  { name: 'an answer that trickles without end', isSlow: true, ...untold(trickling), ...HALF },
]

/** On a kept connection that is taken for one that was closed before the call came, which took nothing. */
function resetting({ isReused }: ArrivedCall): Play {
  return {
    taken: isReused ? 'nothing' : 'untold',
    isResent: isReused,
    answer: ({ socket }) => socket.resetAndDestroy(),
  }
}

function failing(status: number, headers: Readonly<Record<string, string>> = {}) {
  return (call: ArrivedCall) => sending(status, 'application/json', call.wire.error(`played_${status}`), headers)(call)
}

function sending(status: number, type: string, body: string, headers: Readonly<Record<string, string>> = {}) {
  return ({ response }: ArrivedCall) => void response.writeHead(status, { 'content-type': type, ...headers }).end(body)
}

function withDate(call: ArrivedCall): void {
  const now = Math.floor(Date.now() / 1_000) * 1_000
  const header = (ms: number) => new Date(ms).toUTCString()
  failing(429, { date: header(now), 'retry-after': header(now + RETRY_AFTER_MS) })(call)
}

/** Half of an answer, and then this. */
function half(then: (call: ArrivedCall) => unknown) {
  return async (call: ArrivedCall) => {
    const { response, streamed, wire } = call
    response.writeHead(200, { 'content-type': streamed ? 'text/event-stream' : 'application/json' })
    response.write(streamed ? wire.events(['Be', 'cause ']) : wire.plain('Because it is.').slice(0, 40))
    // An empty write is called back when all before it has been handed to the system.
    await new Promise<void>((resolve) => response.write('', () => resolve()))
    return then(call)
  }
}

const LARGE_BYTES = 40 * 1024 * 1024

async function large({ response, streamed, wire, left }: ArrivedCall): Promise<void> {
  response.writeHead(200, { 'content-type': streamed ? 'text/event-stream' : 'application/json' })
  const piece = 'x'.repeat(64 * 1024)
  const text = streamed ? wire.events([piece]) : piece
  if (!streamed) response.write(wire.plain('').replace(/("(?:content|completion)":").*/, '$1'))
  for (let sent = 0; sent < LARGE_BYTES && !left.aborted; sent += text.length) {
    if (!response.write(text)) await once(response, 'drain', { signal: left }).catch(() => {})
  }
  if (!left.aborted) response.end()
}

const TRICKLE_MS = 50

async function trickling({ response, streamed, wire, left }: ArrivedCall): Promise<void> {
  response.writeHead(200, { 'content-type': streamed ? 'text/event-stream' : 'application/json' })
  while (!left.aborted) {
    response.write(streamed ? wire.events(['x']) : ' ')
    await pause(TRICKLE_MS, undefined, { signal: left }).catch(() => {})
  }
}
