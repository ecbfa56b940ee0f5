import { connect } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { BARE_HOST, type RunningHost, startHost } from '../support/host.ts'

/*
 * Headers as the cloud's host lets them through: 32 KiB, in UTF-8. The Functions library's own server takes less by itself,
 * and an invocation that it never learns of would never end.
 */

let host: RunningHost
beforeAll(async () => {
  host = await startHost({ TOLLGATE_STORAGE: 'memory:', OPENAI_API_KEY: 'sk' }, BARE_HOST)
})
afterAll(() => host?.stop())

/** The status and the body of the answer to a request with these bytes in its head. */
function ask(
  head: string | Buffer,
  path = 'api/generate',
): Promise<{ readonly status: number; readonly body: string }> {
  const { port, hostname } = new URL(host.url)
  return new Promise((resolve, reject) => {
    const socket = connect(Number(port), hostname)
    let text = ''
    socket.setTimeout(8_000, () => socket.destroy(new Error('no answer within 8 s')))
    socket.on('data', (piece) => {
      text += piece
    })
    socket.on('error', reject)
    socket.on('close', () => {
      const [top = '', ...body] = text.split('\r\n\r\n')
      resolve({ status: Number(top.split(' ')[1]), body: body.join('\r\n\r\n') })
    })
    const method = path === 'api/generate' ? 'POST' : 'GET'
    socket.write(`${method} /${path} HTTP/1.1\r\nhost: ${hostname}:${port}\r\nconnection: close\r\n`)
    socket.write(head)
    socket.write('\r\ncontent-length: 2\r\n\r\n{}')
  })
}
const lines = () => host.output().match(/"event":"request"/g)?.length ?? 0

describe('J2: a head whose body is still to come', () => {
  test.each([
    ['of a known length', 'content-length: 20'],
    ['of a client that waits to be told to send it', 'content-length: 20\r\nexpect: 100-continue'],
    ['of an unknown length', 'transfer-encoding: chunked'],
  ])('reaches the app at once, and a missing key is a 401: %s', async (_what, header) => {
    const { port, hostname } = new URL(host.url)
    const socket = connect(Number(port), hostname)
    let text = ''
    socket.on('data', (piece) => {
      text += piece
    })
    socket.write(`POST /api/generate HTTP/1.1\r\nhost: ${hostname}:${port}\r\n${header}\r\n\r\n`)
    await expect.poll(() => text, { timeout: 5_000 }).toMatch(/HTTP\/1\.1 401 .*"code":"invalid_api_key"/s)
    socket.destroy()
    expect(host.output()).not.toContain('request never arrived')
  })
})

describe('H4: headers that the library’s server would not take', () => {
  test.each([15, 17, 24, 31])('%s KiB of them reach the app, and are answered as any request', async (kib) => {
    const before = lines()
    const { status, body } = await ask(`x-long: ${'a'.repeat(kib * 1024)}`)
    expect(status).toBe(401)
    expect(JSON.parse(body)).toMatchObject({ error: expect.stringContaining('Missing API key') })
    await expect.poll(lines, { timeout: 5_000 }).toBe(before + 1)
  })

  test('31 KiB in many headers, too, and on every route', async () => {
    const head = Array.from({ length: 60 }, (_, i) => `x-${i}: ${'b'.repeat(512)}`).join('\r\n')
    expect((await ask(head)).status).toBe(401)
    expect((await ask(head, 'api/health')).status).toBe(200)
  })

  test('more than the host takes is a 431 of the host’s', async () => {
    expect((await ask(`x-long: ${'a'.repeat(40 * 1024)}`)).status).toBe(431)
  })

  test.each([
    ['beyond Latin-1', 'x-name: 日本'],
    ['with an emoji', 'x-name: 🙂'],
    ['beyond Latin-1, in a key', 'x-api-key: ключ'],
  ])('one %s is a 400 that names it, with a line of its own', async (_what, header) => {
    const before = lines()
    const { status, body } = await ask(Buffer.from(header))
    expect(status).toBe(400)
    const [name] = header.split(':')
    expect(JSON.parse(body)).toMatchObject({ error: expect.stringContaining(`'${name}'`) })
    await expect.poll(lines, { timeout: 5_000 }).toBe(before + 1)
    expect(host.output()).toMatch(/"refusal":"invalid_request","status":400/)
  })

  test('one that is no UTF-8 is a 400 of the host’s', async () => {
    expect((await ask(Buffer.from('x-name: \xe9', 'latin1'))).status).toBe(400)
  })

  test('and a route that reads no headers answers all the same', async () => {
    expect((await ask(Buffer.from('x-name: 日本'), 'api/health')).status).toBe(200)
  })
})
