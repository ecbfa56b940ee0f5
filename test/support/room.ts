import type { BaseContext, Facts, GatewayRequest } from '@tollgate/middleware'

/** A request with nothing in it, for a middleware that is tested alone. */
export const request: GatewayRequest = {
  method: 'POST',
  url: new URL('http://127.0.0.1/'),
  headers: new Headers(),
  body: null,
  clientAddress: '203.0.113.1',
  signal: new AbortController().signal,
}

/** A base context, and what was told to it, for a middleware that is tested alone. */
export interface ToldContext extends BaseContext {
  readonly told: Facts
}

/** @param change what the test wants different */
export function baseContext(change: Partial<BaseContext> = {}): ToldContext {
  const told: Facts = {}
  return { requestId: 'r', log: () => {}, tell: (facts) => void Object.assign(told, facts), told, ...change }
}
