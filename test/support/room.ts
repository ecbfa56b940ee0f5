import type { BaseContext, GatewayRequest } from '@tollgate/middleware'

/** A request with nothing in it, for a room that is tested alone. */
export const request: GatewayRequest = {
  method: 'POST',
  url: new URL('http://127.0.0.1/'),
  headers: new Headers(),
  body: null,
  clientAddress: '203.0.113.1',
  signal: new AbortController().signal,
}

/** A base context that renders a refusal as its status and headers, with what the test wants different. */
export function baseContext(change: Partial<BaseContext> = {}): BaseContext {
  return {
    refuse: ({ status, headers = {} }) => new Response(null, { status, headers }),
    record: { requestId: 'r' },
    log: () => {},
    ...change,
  }
}
