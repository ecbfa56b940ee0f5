import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { GENERATE, OPENAI, USAGE, type Wire } from './wire.ts'

/* A model's server that a test plays. It counts by itself what it is asked, and what it bills for it. */

/** Dollars for a million tokens. */
export const PRICE = { input: 1, output: 2 }
/** What a healthy call costs by that, in nano-dollars. */
export const BILL = (USAGE.prompt_tokens * PRICE.input + USAGE.completion_tokens * PRICE.output) * 1_000

/** The pieces of a healthy answer's text. */
const PIECES = ['Be', 'cause ', 'it ', 'is.']

/** A call as it arrives at a played target. */
export interface ArrivedCall {
  /** Of the request that it is made for. */
  readonly requestId: string
  readonly response: ServerResponse
  readonly socket: Socket
  readonly streamed: boolean
  /** The language that it is asked in. */
  readonly wire: Wire
  /** The service tier that is asked for by name. */
  readonly tier: string | undefined
  /** Whether its connection has carried a call before. */
  readonly isReused: boolean
  /** Aborts when the gateway no longer waits for the answer. */
  readonly left: AbortSignal
}

/** How much a call to a target has taken: nothing; what a healthy one takes, and says so; or the target never says. */
export type Taken = 'nothing' | 'told' | 'untold'

/** What a target does with a call, and what that has taken. */
export interface Play {
  readonly taken: Taken
  /** Whether the gateway may send it once more, as the same attempt. */
  readonly isResent?: boolean
  readonly answer: (call: ArrivedCall) => unknown
}

export interface PlayedTarget {
  /** Without a slash at its end, and without OpenAI's `/v1`. */
  readonly origin: string
  /** What each of its calls has taken, in the order in which they came. */
  readonly calls: Taken[]
  /** How many calls are under way. */
  readonly open: number
  /** Told by the test between two requests. */
  play: (call: ArrivedCall) => Play
  close(): Promise<void>
}

export async function startPlayedTarget(): Promise<PlayedTarget> {
  const carried = new WeakSet<Socket>()
  const calls: Taken[] = []
  let open = 0
  const server = createServer(async (request, response) => {
    const { socket } = request
    const isReused = carried.has(socket)
    carried.add(socket)
    open += 1
    const left = new AbortController()
    response.once('close', () => {
      open -= 1
      left.abort()
    })
    // A reset that the test itself makes.
    response.on('error', () => {})
    const text = await textOf(request).catch(() => undefined)
    if (text === undefined) return
    const { stream, service_tier: tier, prompt } = JSON.parse(text) as Asked
    const wire = prompt === undefined ? OPENAI : GENERATE
    const requestId = String(request.headers['x-request-id'])
    const call = { requestId, response, socket, streamed: stream === true, wire, tier, isReused, left: left.signal }
    const { taken, answer } = target.play(call)
    calls.push(taken)
    await answer(call)
  })
  server.keepAliveTimeout = 60_000
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const target: PlayedTarget = {
    origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    calls,
    get open() {
      return open
    },
    play: () => HEALTHY,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
  return target
}

interface Asked {
  readonly stream?: unknown
  readonly service_tier?: string
  /** Of the contract of `POST /api/generate`. */
  readonly prompt?: string
}

async function textOf(request: IncomingMessage): Promise<string> {
  const pieces: Buffer[] = []
  for await (const piece of request as AsyncIterable<Buffer>) pieces.push(piece)
  return Buffer.concat(pieces).toString()
}

/** A whole answer, in the form that is asked for. */
export const HEALTHY: Play = { taken: 'told', answer: (call) => whole(call) }

export interface WholeOptions {
  /** Its content type, if that is not the usual one. */
  readonly type?: string
  /** The service tier that has served. */
  readonly tier?: string
}

export function whole({ response, streamed, wire }: ArrivedCall, { type, tier }: WholeOptions = {}): void {
  const usual = streamed ? 'text/event-stream' : 'application/json'
  response.writeHead(200, { 'content-type': type ?? usual })
  response.end(streamed ? wire.events(PIECES) + wire.ending(tier) : wire.plain(PIECES.join(''), tier))
}
