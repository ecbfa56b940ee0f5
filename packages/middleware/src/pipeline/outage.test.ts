import assert from 'node:assert'
import { readFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { describe, expect, test } from 'vitest'
import { isOutage, StoreUnavailable, withDeadline } from './index.ts'

/** What a piece of work really throws. */
async function thrownBy(work: () => unknown): Promise<unknown> {
  try {
    await work()
  } catch (error) {
    return error
  }
  throw new Error('It threw nothing')
}

/** A port that nothing listens on. */
async function closedPort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  const { port } = server.address() as { port: number }
  await new Promise((resolve) => server.close(resolve))
  return port
}

/** Fetches from a server that says this and hangs up. */
async function answered(text: string): Promise<string> {
  const server = createServer((socket) => socket.once('data', () => socket.end(text))).listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  try {
    return await (await fetch(`http://127.0.0.1:${(server.address() as { port: number }).port}`)).text()
  } finally {
    server.close()
  }
}

const withCode = (code: string) => Object.assign(new Error('x'), { code })
const nothing = undefined as unknown as { readonly name: string }

describe('B1: an outage is', () => {
  test.each<[string, () => unknown]>([
    ['a deadline', () => withDeadline(1, () => new Promise(() => {}))],
    ['a signal that was aborted', () => AbortSignal.abort().throwIfAborted()],
    ['a signal that timed out', () => Promise.reject(new DOMException('late', 'TimeoutError'))],
    ['a fetch that reaches nobody', async () => fetch(`http://127.0.0.1:${await closedPort()}`)],
    ['a fetch whose answer is cut off', () => answered('HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nx')],
    ['a fetch whose answer is no HTTP', () => answered('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n')],
    ['a system’s error', () => readFile('/no/such/file')],
    ['an HTTP status', () => Promise.reject(Object.assign(new Error('x'), { statusCode: 403 }))],
    ['a store’s own error', () => Promise.reject(new Error('down'))],
    ['what a store calls one', () => Promise.reject(new StoreUnavailable('restoring', { cause: new TypeError('x') }))],
    [
      'what another copy of the middleware calls one',
      () => {
        throw Object.assign(new TypeError('x'), { name: 'StoreUnavailable' })
      },
    ],
    ['several failures, of which one is', () => Promise.any([Promise.reject(withCode('ECONNREFUSED'))])],
  ])('%s', async (_what, work) => {
    expect(isOutage(await thrownBy(work))).toBe(true)
  })
})

describe('B1: a programming fault is', () => {
  test.each<[string, () => unknown]>([
    ['a property of nothing', () => nothing.name],
    ['a name that is not defined', () => new Function('return notDefined')()],
    ['a length that can’t be', () => new Array(-1)],
    ['JSON that was taken for granted', () => JSON.parse('{')],
    ['an assertion', () => assert.equal(1, 2)],
    ['an argument of the wrong type', () => readFile(Number.NaN as never)],
    ['a module that is not there', () => import('./no-such-file.ts' as string)],
    ['a fetch that was called wrong', () => fetch('no url')],
    ['a wrong call of the platform', () => structuredClone(() => {})],
    ['a fault within a deadline', () => withDeadline(1_000, async () => nothing.name)],
    ['several faults', () => Promise.any([Promise.reject(new TypeError('x'))])],
    ['what is no error', () => Promise.reject('down')],
    ['nothing at all', () => Promise.reject(undefined)],
  ])('%s', async (_what, work) => {
    expect(isOutage(await thrownBy(work))).toBe(false)
  })
})
