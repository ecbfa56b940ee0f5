import { createHash, createHmac, timingSafeEqual } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

/*
 * A Lambda behind a function URL with IAM's authorization, as another team would have it: it speaks the contract of
 * POST /api/generate, and reckons each request's signature by itself, as AWS's document of Signature Version 4 says.
 */

export interface Credentials {
  readonly accessKeyId: string
  readonly secretAccessKey: string
  /** Of temporary ones. */
  readonly sessionToken?: string
}

export interface SignedRequest {
  readonly method: string
  /** As it stands in the request line. */
  readonly target: string
  readonly headers: IncomingHttpHeaders
  readonly body: Buffer
}

export interface Expected extends Credentials {
  readonly service: string
  readonly region: string
  /** Milliseconds since 1970. */
  readonly now: number
}

/** How far a request's clock may be from the service's, in milliseconds. */
const MOST_SKEW_MS = 5 * 60_000

const sha256 = (data: string | Buffer) => createHash('sha256').update(data).digest('hex')
const hmac = (key: string | Buffer, data: string) => createHmac('sha256', key).update(data).digest()

/** @returns what is wrong with a request's signature; `undefined` where nothing is */
export function signatureFault(request: SignedRequest, expected: Expected): string | undefined {
  const { method, target, headers, body } = request
  const stated =
    /^AWS4-HMAC-SHA256 Credential=([^/,]+)\/(\d{8})\/([^/,]+)\/([^/,]+)\/aws4_request, SignedHeaders=([a-z0-9;-]+), Signature=([0-9a-f]{64})$/.exec(
      headers.authorization ?? '',
    )
  if (stated === null) return 'no signature'
  const [, accessKeyId, date = '', region, service, names = '', signature = ''] = stated
  if (accessKeyId !== expected.accessKeyId) return 'another key'
  if (region !== expected.region) return 'another region'
  if (service !== expected.service) return 'another service'
  if (headers['x-amz-security-token'] !== expected.sessionToken) return 'another session'
  const at = String(headers['x-amz-date'])
  const time = Date.parse(at.replace(/^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/, '$1-$2-$3T$4:$5:$6Z'))
  if (!(Math.abs(time - expected.now) <= MOST_SKEW_MS) || !at.startsWith(date)) return 'another time'
  const signed = names.split(';')
  const mustBe = ['host', ...Object.keys(headers).filter((name) => name.startsWith('x-amz-'))]
  const unsigned = mustBe.find((name) => !signed.includes(name))
  if (unsigned !== undefined) return `${unsigned} is not signed`

  const [path = '/', query = ''] = target.split('?')
  const encoded = (text: string) =>
    encodeURIComponent(text).replace(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`)
  const canonical = [
    method,
    path.split('/').map(encoded).join('/'),
    [...new URLSearchParams(query)]
      .map((pair) => pair.map(encoded).join('='))
      .toSorted()
      .join('&'),
    ...signed.map(
      (name) =>
        `${name}:${String(headers[name] ?? '')
          .trim()
          .replace(/ +/g, ' ')}`,
    ),
    '',
    names,
    sha256(body),
  ].join('\n')
  const toSign = ['AWS4-HMAC-SHA256', at, `${date}/${region}/${service}/aws4_request`, sha256(canonical)].join('\n')
  const key = [region, service, 'aws4_request'].reduce(
    (secret: Buffer, part) => hmac(secret, String(part)),
    hmac(`AWS4${expected.secretAccessKey}`, date),
  )
  return timingSafeEqual(hmac(key, toSign), Buffer.from(signature, 'hex')) ? undefined : 'another signature'
}

/** A call that was let in. */
export interface LambdaCall {
  readonly headers: IncomingHttpHeaders
  readonly body: Record<string, unknown>
}

export interface Lambda {
  readonly url: string
  readonly calls: LambdaCall[]
  /** Why requests were turned away. */
  readonly refusals: string[]
  /** Connections that it has seen. */
  readonly connections: () => number
  /** In the place of its own answers. */
  reply: (call: LambdaCall, response: ServerResponse) => unknown
  /** What it expects, to be changed by a test. */
  expected: Omit<Expected, 'now'> & { readonly now?: () => number }
  close(): Promise<void>
}

/** As the contract has it. */
export function completion(text: string, more: object = {}): object {
  const usage = { prompt_tokens: 11, completion_tokens: 7, total_tokens: 18 }
  return { data: { completion: text, model: 'lambda-model', usage, ...more }, status: 'success' }
}

export function sendJson(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
}

export const answerPlain: Lambda['reply'] = ({ body }, response) =>
  sendJson(response, 200, completion(`lambda: ${body.prompt}`))

/** @param credentials by which it lets requests in; without them it lets in all */
export async function startLambda(credentials?: Credentials): Promise<Lambda> {
  let connections = 0
  const server = createServer(async (request, response) => {
    const body = await bytesOf(request)
    const { method = '', url: target = '', headers } = request
    const { now = Date.now, ...expected } = lambda.expected
    const fault = credentials && signatureFault({ method, target, headers, body }, { ...expected, now: now() })
    if (fault !== undefined) {
      lambda.refusals.push(fault)
      return sendJson(response, 403, { Message: 'Forbidden' })
    }
    const call = { headers, body: JSON.parse(body.toString() || '{}') }
    lambda.calls.push(call)
    lambda.reply(call, response)
  })
  server.on('connection', () => {
    connections += 1
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const lambda: Lambda = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    calls: [],
    refusals: [],
    connections: () => connections,
    reply: answerPlain,
    expected: {
      ...(credentials ?? { accessKeyId: '', secretAccessKey: '' }),
      service: 'lambda',
      region: 'eu-west-1',
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
  return lambda
}

async function bytesOf(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = []
  for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk)
  return Buffer.concat(chunks)
}
