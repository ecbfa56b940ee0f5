import { createRequire } from 'node:module'
import type { Entry, GatewayRequest } from '@tollgate/middleware'
import { describe, expect, test } from 'vitest'
import { streamBody } from '../../../test/support/base-context.ts'
import { httpHandler } from './http-adapter.ts'

// The library's classes can't be imported by name as an ES module.
const { HttpRequest, InvocationContext } = createRequire(import.meta.url)('@azure/functions')

async function run(entry: Entry, headers: Record<string, string> = {}, traceContext?: object) {
  const lines: string[] = []
  const logHandler = (_level: string, line: string) => lines.push(line)
  const invocation = new InvocationContext({ logHandler, traceContext })
  const request = new HttpRequest({
    url: 'http://127.0.0.1/api/generate',
    method: 'POST',
    headers,
    body: { string: 'x' },
  })
  return { result: await httpHandler(entry)(request, invocation), lines }
}

describe('the HTTP adapter', () => {
  test.each<[string, Entry]>([
    [
      'throws at once',
      () => {
        throw new Error('SECRET')
      },
    ],
    ['rejects', () => Promise.reject(new Error('SECRET'))],
    [
      'answers with a body that breaks',
      async () => {
        const body = streamBody({ read: () => Promise.reject(new Error('SECRET')), cancel: () => {} })
        return { kind: 'response', status: 200, headers: {}, body }
      },
    ],
    ['answers nothing', async () => undefined as never],
  ])('answers a JSON 500 when what is behind it %s', async (_what, entry) => {
    const { result, lines } = await run(entry)
    expect(result).toEqual({
      status: 500,
      jsonBody: { error: 'An internal server error occurred.', code: 'internal_error' },
    })
    expect(lines.join()).toContain('adapter fault')
    expect(lines.join()).not.toContain('SECRET')
  })

  test.each([
    ['203.0.113.7', '203.0.113.7'],
    ['203.0.113.7:4711', '203.0.113.7'],
    ['198.51.100.1, 203.0.113.7:4711', '203.0.113.7'],
    ['[2001:db8::1]:4711', '2001:db8::1'],
    ['2001:db8::1', '2001:db8::1'],
    ['', 'unknown'],
  ])('takes the address that the front end saw: %s', async (forwarded, address) => {
    let seen: GatewayRequest | undefined
    await run(
      async (request) => {
        seen = request
        return { kind: 'response', status: 200, headers: {}, body: null }
      },
      { 'x-forwarded-for': forwarded },
    )
    expect(seen?.clientAddress).toBe(address)
  })

  test.each([
    ['that it is told', { traceParent: 'p', traceState: 's' }, { traceparent: 'p', tracestate: 's' }],
    ['as far as it is told', { traceParent: 'p' }, { traceparent: 'p', tracestate: undefined }],
    ['of none', undefined, undefined],
  ])('hands on the host’s span %s', async (_what, traceContext, hostSpan) => {
    let seen: GatewayRequest | undefined
    const entry: Entry = async (request) => {
      seen = request
      return { kind: 'response', status: 200, headers: {}, body: null }
    }
    await run(entry, {}, traceContext)
    expect(seen?.hostSpan).toEqual(hostSpan)
  })
})
