import type { ServerResponse } from 'node:http'

/** What the host has set already, and a function doesn't change. What an answer varies by, each may add to. */
export function ownHeaders(response: ServerResponse): ReadonlySet<string> {
  return new Set(response.getHeaderNames().filter((name) => name !== 'vary'))
}
