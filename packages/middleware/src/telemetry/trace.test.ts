import { describe, expect, test } from 'vitest'
import { request } from '../../../../test/support/room.ts'
import { type GatewayRequest, type Handler, RequestEnded } from '../pipeline/index.ts'
import { trace } from './index.ts'

interface Written {
  readonly level: string
  readonly event: string
  readonly status?: number
  readonly [field: string]: unknown
}

/** What a handler's answer comes to, and the lines that it leaves. */
async function run(handler: Handler, change: Partial<GatewayRequest> = {}) {
  const lines: Written[] = []
  const entry = trace({ refuse: ({ status }) => new Response(null, { status }), handler: () => handler })
  const response = await entry({ ...request, ...change }, (level, line) => lines.push({ level, ...line } as Written))
  return { response, lines }
}

/** A client that leaves while the handler runs. */
function leaving() {
  const client = new AbortController()
  return { signal: client.signal, leave: () => client.abort(new DOMException('The client has left', 'AbortError')) }
}
const stream = (pull: (controller: ReadableStreamDefaultController<Uint8Array>) => void) =>
  new Response(new ReadableStream({ pull }, { highWaterMark: 0 }), { headers: { 'content-type': 'text/event-stream' } })

describe('H1: a request whose client has left', () => {
  test.each<[string, Handler]>([
    ['that would have been answered', async () => Response.json({})],
    ['whose wait was broken off by that', async ({ signal }) => Promise.reject(signal.reason)],
    ['whose wait was broken off by another signal', async () => Promise.reject(new DOMException('', 'AbortError'))],
    [
      'whose call to the model ended with it',
      async (_request, { refuse, record }) => {
        record.upstream = { code: 'client_left' }
        return refuse({ code: 'upstream_failed', status: 502, message: '' })
      },
    ],
  ])('%s has status 499, and no error line', async (_what, handler) => {
    const { signal, leave } = leaving()
    const { response, lines } = await run(
      async (given, context) => {
        leave()
        return handler(given, context)
      },
      { signal },
    )
    expect([response.status, response.body]).toEqual([499, null])
    expect(lines).toEqual([
      expect.objectContaining({ level: 'info', event: 'request', status: 499, refusal: 'client_left' }),
    ])
  })

  test('keeps the refusal that was decided before', async () => {
    const { lines } = await run(
      (_request, { refuse }) => refuse({ code: 'rate_limit_exceeded', status: 429, message: '' }),
      { signal: AbortSignal.abort() },
    )
    expect(lines).toEqual([expect.objectContaining({ status: 499, refusal: 'rate_limit_exceeded' })])
  })

  test('hides no fault of ours', async () => {
    const fails = () => {
      throw new TypeError('x is not a function')
    }
    const { response, lines } = await run(fails, { signal: AbortSignal.abort() })
    expect(response.status).toBe(500)
    expect(lines.map(({ level, event, status }) => [level, event, status])).toEqual([
      ['error', 'fault', undefined],
      ['info', 'request', 500],
    ])
  })

  test('before the first byte of its stream has 499, and later the status that was sent', async () => {
    const unread = await run(async () => stream(() => {}))
    await unread.response.body?.cancel()
    expect(unread.lines).toEqual([
      expect.objectContaining({ status: 499, stream: 'client_left', refusal: 'client_left' }),
    ])

    const begun = await run(async () => stream((controller) => controller.enqueue(Buffer.from('data: a\n\n'))))
    const reader = begun.response.body?.getReader()
    await reader?.read()
    await reader?.cancel()
    expect(begun.lines).toEqual([expect.objectContaining({ status: 200, stream: 'client_left' })])
    expect(begun.lines[0]).not.toHaveProperty('refusal')
  })
})

describe('H2: a request that the gateway has ended', () => {
  const ended = new RequestEnded('shutting_down', { code: 'shutting_down', status: 503, message: '' })

  test('before it came is refused, and no middleware sees it', async () => {
    const { response, lines } = await run(() => Promise.reject(new Error('it was run')), {
      signal: AbortSignal.abort(ended),
    })
    expect(response.status).toBe(503)
    expect(lines).toEqual([expect.objectContaining({ level: 'info', status: 503, refusal: 'shutting_down' })])
  })

  test('while it was read by no client is broken, and not left', async () => {
    const { response, lines } = await run(async () => stream(() => {}))
    await response.body?.cancel(ended)
    expect(lines).toEqual([expect.objectContaining({ status: 200, stream: 'broken' })])
  })
})
