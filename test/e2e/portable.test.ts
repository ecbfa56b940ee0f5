import { spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { copyFileSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, request } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Entry, requestsInFlight } from '@tollgate/middleware'
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest'
import { nodeHttp } from '../../examples/portable/node-http.ts'
import { streamBody } from '../support/base-context.ts'
import { complete } from '../support/completions.ts'
import { newKey, unique } from '../support/consumers.ts'
import { type CountedModel, startCountedModel, whole } from '../support/counted-model.ts'
import { generate, ROOT, type RunningHost, rawStatus, startHost } from '../support/host.ts'
import { startOtlpReceiver } from '../support/otlp-receiver.ts'
import { parseMetrics } from '../support/prometheus.ts'
import { rawConnection } from '../support/raw-connection.ts'
import { noRedis, startRedis } from '../support/redis.ts'
import { openAccount } from '../support/tables.ts'

/*
 * examples/portable: the gateway in a plain server of Node's. What it builds is copied into an empty folder, so that it is
 * known to need nothing beside it.
 */

const EXAMPLE = join(ROOT, 'examples/portable')
const LISTENING = /"url":"([^"]+)"/
const POLICY = `
plans:
  default: { limits: [ {requests: 100, per: 1m} ] }
  few: { limits: [ {requests: 2, per: day} ] }
  poor: { limits: [ {usd: 0.000001, per: month} ] }
  onModel: { limits: [ {requests: 1, per: day, model: default} ] }
models:
  default: { price: {input: 1, output: 1} }
`

const folder = mkdtempSync(join(tmpdir(), 'tollgate-portable-'))
const open = openAccount(inject('azurite'))
let model: CountedModel
let server: RunningHost

/** An app's folder with the built server and a policy in it. */
function start(settings: Record<string, string>): Promise<RunningHost> {
  const env = { HOST: '127.0.0.1', OPENAI_BASE_URL: model.baseUrl, ...settings }
  return startHost(env, join(folder, 'server.cjs'), LISTENING)
}

beforeAll(async () => {
  const built = spawnSync(process.execPath, [join(EXAMPLE, 'build.ts')], { encoding: 'utf8' })
  if (built.status !== 0) throw new Error(`The example was not built:\n${built.stderr}`)
  copyFileSync(join(EXAMPLE, 'dist/server.cjs'), join(folder, 'server.cjs'))
  writeFileSync(join(folder, 'tollgate.policy.yaml'), POLICY)
  model = await startCountedModel()
  server = await start({ TOLLGATE_STORAGE: inject('azurite'), TOLLGATE_POLICY: join(folder, 'tollgate.policy.yaml') })
})
afterAll(async () => {
  await server?.stop()
  await model?.close()
  rmSync(folder, { recursive: true, force: true })
})

test('it stands alone: one file and a policy', () => {
  expect(readdirSync(folder).toSorted()).toEqual(['server.cjs', 'tollgate.policy.yaml'])
})

test('OpenAI’s and Azure OpenAI’s clients are answered too, each in its own words', async () => {
  const [key, prompt] = [await newKey(open, unique('portable')), unique('why')]
  const ask = (path: string, messages: unknown, apiKey = key) =>
    fetch(`${server.url}/api${path}`, {
      method: 'POST',
      headers: { 'api-key': apiKey },
      body: JSON.stringify({ model: 'default', messages }),
    })
  const messages = [{ role: 'user', content: prompt }]
  const answer = await (await ask('/v1/chat/completions', messages)).json()
  expect(answer).toMatchObject({ choices: [{ message: { content: model.given(prompt)[0] } }] })
  const azure = await ask('/openai/deployments/default/chat/completions?api-version=2024-10-21', messages)
  expect([azure.headers.get('cache-status'), await azure.json()]).toEqual([expect.stringContaining('; hit'), answer])
  expect(await (await ask('/v1/chat/completions', messages, 'none')).json()).toMatchObject({
    error: { code: 'invalid_api_key', param: null },
  })
  expect(await (await ask('/openai/v1/chat/completions', [])).json()).toMatchObject({ error: { param: 'messages' } })
  expect(await (await ask('/v1/llm/generate', [])).json()).toMatchObject({ code: 'invalid_request' })
})

test('usage is read by a key of scope read alone', async () => {
  const [reads, calls] = [await newKey(open, unique('grafana'), 'default', ['read']), await newKey(open, unique('app'))]
  const read = (key: string, path = '') => fetch(`${server.url}/api/usage${path}`, { headers: { 'api-key': key } })
  expect(await (await read(reads, '?by=model')).json()).toMatchObject({ by: 'model', unattributed: expect.any(Array) })
  expect(await (await read(reads, '/requests/none')).json()).toMatchObject({ requestId: 'none', requests: [] })
  expect([(await read(calls)).status, (await read('none')).status]).toEqual([403, 401])
})

test('it sends spans and metrics to a collector: the request among them, since no host records it', async () => {
  const receiver = await startOtlpReceiver()
  const told = await start({ TOLLGATE_STORAGE: 'memory:', OTEL_EXPORTER_OTLP_ENDPOINT: receiver.url })
  try {
    const key = /"key":"([^"]+)"/.exec(told.output())?.[1] ?? ''
    const [prompt, traceId] = [unique('PROMPT'), randomBytes(16).toString('hex')]
    const headers = { 'x-api-key': key, traceparent: `00-${traceId}-b7ad6b7169203331-01` }
    expect((await generate(told, JSON.stringify({ prompt }), headers)).status).toBe(200)
    await told.stop()
    const [server, ...calls] = receiver.spans.toSorted((a, b) => a.kind - b.kind)
    expect(server).toMatchObject({ name: 'tollgate generate', kind: 2, traceId, parentSpanId: 'b7ad6b7169203331' })
    expect(calls.map(({ kind, parentSpanId }) => [kind, parentSpanId])).toEqual([[3, server?.spanId]])
    expect(receiver.points.map(({ metric }) => metric)).toContain('tollgate.requests')
    expect(receiver.bodies.some((body) => body.includes(prompt) || body.includes(key))).toBe(false)
  } finally {
    await told.stop('SIGKILL')
    await receiver.close()
  }
})

describe('on tables', () => {
  test('a miss asks the model, a hit does not, streamed or plain; and the tables are those of any Tollgate', async () => {
    const [key, prompt] = [await newKey(open, unique('portable')), unique('why')]
    const miss = await complete(server, { prompt, key })
    expect([miss.status, miss.cacheStatus, miss.whole]).toEqual([200, 'tollgate; fwd=miss; stored', true])
    const hit = await complete(server, { prompt, key })
    expect([hit.cacheStatus, hit.text]).toEqual([expect.stringMatching(/^tollgate; hit; ttl=\d+$/), miss.text])
    const streamed = await complete(server, { prompt, key, stream: true })
    expect([streamed.cacheStatus, streamed.text, streamed.whole]).toEqual([
      expect.stringMatching(/^tollgate; hit/),
      miss.text,
      true,
    ])
    expect(model.asked(prompt)).toBe(1)
  })

  test('a stream comes piece by piece, as the model writes', async () => {
    const [key, prompt] = [await newKey(open, unique('portable')), unique('stream')]
    const seen = Promise.withResolvers<void>()
    model.next(prompt, whole({ before: (index) => (index === 2 ? seen.promise : undefined) }))
    const answer = await complete(server, {
      prompt,
      key,
      stream: true,
      onText: (text) => text !== '' && seen.resolve(),
    })
    expect([answer.cacheStatus, answer.whole, answer.text]).toEqual([
      'tollgate; fwd=miss',
      true,
      model.given(prompt)[0],
    ])
  })

  test('a stream that breaks says so, and breaks the connection', async () => {
    const [key, prompt] = [await newKey(open, unique('portable')), unique('break')]
    const seen = Promise.withResolvers<void>()
    const before = (index: number) => (index === 3 ? seen.promise : undefined)
    model.next(prompt, whole({ before, end: (response) => response.destroy() }))
    const onText = (text: string) => text !== '' && seen.resolve()
    const answer = await complete(server, { prompt, key, stream: true, onText })
    expect(answer).toMatchObject({ status: 200, whole: false, broke: true, error: expect.stringContaining('failed') })
  })

  test('a client that leaves ends the call of the model', async () => {
    const [key, prompt] = [await newKey(open, unique('portable')), unique('leave')]
    const never = new Promise(() => {})
    model.next(prompt, whole({ before: (index) => (index === 2 ? never : undefined) }))
    const left = new AbortController()
    const asked = complete(server, { prompt, key, stream: true, signal: left.signal, onText: () => left.abort() })
    await asked.catch(() => {})
    await expect.poll(() => model.ended(prompt)).toBe(1)
  })

  test('429 when a limit or a budget is reached, with the time to come back', async () => {
    const [few, poor] = [await newKey(open, unique('few'), 'few'), await newKey(open, unique('poor'), 'poor')]
    const statuses = []
    for (const prompt of ['a', 'b', 'c'].map(unique))
      statuses.push((await complete(server, { prompt, key: few })).status)
    expect(statuses).toEqual([200, 200, 429])
    const refused = await generate(server, '{"prompt":"Why?"}', { 'x-api-key': few })
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0)
    expect(await complete(server, { prompt: unique('dear'), key: poor })).toMatchObject({ status: 400 })
    const onModel = await newKey(open, unique('on-model'), 'onModel')
    const twice = [
      await complete(server, { prompt: 'a', key: onModel }),
      await complete(server, { prompt: 'b', key: onModel }),
    ]
    expect(twice.map(({ status }) => status)).toEqual([200, 429])
  })

  test.each([
    ['no key', '{"prompt":"Why?"}', {}, 401],
    ['no JSON', '{', { keyed: true }, 400],
    ['too much', JSON.stringify({ prompt: 'x'.repeat(1024 * 1024) }), { keyed: true }, 413],
  ])('%s is refused as anywhere', async (_what, body, { keyed }: { keyed?: boolean }, status) => {
    const headers: Record<string, string> = keyed ? { 'x-api-key': await newKey(open, unique('portable')) } : {}
    const answer = await generate(server, body, headers)
    expect([answer.status, typeof answer.body.error]).toEqual([status, 'string'])
  })

  test('a body that turns out too long is refused, and its connection does not break before the answer', async () => {
    const key = await newKey(open, unique('portable'))
    const status = await new Promise<number | undefined>((resolve, reject) => {
      const sent = request(
        `${server.url}/api/generate`,
        { method: 'POST', headers: { 'x-api-key': key } },
        (response) => {
          response.resume()
          resolve(response.statusCode)
        },
      )
      sent.on('error', reject)
      for (let piece = 0; piece < 160; piece += 1) sent.write('x'.repeat(64 * 1024))
      sent.end()
    })
    expect(status).toBe(413)
  })

  test('all of a body that is refused while it comes is taken, so that its sender can end', async () => {
    const key = await newKey(open, unique('portable'))
    const sent = request(`${server.url}/api/generate`, { method: 'POST', headers: { 'x-api-key': key } })
    const [answered, finished] = [once(sent, 'response'), once(sent, 'finish')]
    // More than the system holds of a connection that nobody reads.
    for (let piece = 0; piece < 512; piece += 1) sent.write('x'.repeat(64 * 1024))
    sent.end()
    const [[response]] = await Promise.all([answered, finished])
    expect(response.statusCode).toBe(413)
    response.resume()
  })

  test('J2: an answer before the body’s end says that the connection closes, and it does', async () => {
    const key = await newKey(open, unique('portable'))
    for (const [header, status] of [
      [`x-api-key: ${key}`, 413],
      ['x-api-key: none', 401],
    ]) {
      const connection = rawConnection(server.url)
      const length = 8 * 1024 * 1024
      const head = ['POST /api/generate HTTP/1.1', 'host: x', header, 'transfer-encoding: chunked', '', '']
      connection.write(`${head.join('\r\n')}${length.toString(16)}\r\n${'x'.repeat(length / 2)}`)
      expect(await connection.head()).toMatch(new RegExp(`^HTTP/1.1 ${status} [\\s\\S]*connection: close`, 'i'))
      connection.write('x'.repeat(length / 2))
      expect(await connection.ended()).toMatch(/"error":".*"\}$/)
    }
  })

  test.each([
    '/\\\\machine/api/generate',
    '//machine/api/generate',
    'http://machine//api/generate',
    'ftp://x/api/generate',
  ])('J1: the target %s is no path to the gateway', async (path) => {
    expect(await rawStatus(server, { path, method: 'POST' })).toBeOneOf([400, 404])
  })

  test('a Prometheus is answered, with a key that may read', async () => {
    const scrape = (key: string) => fetch(`${server.url}/api/metrics`, { headers: { authorization: `Bearer ${key}` } })
    const answer = await scrape(await newKey(open, unique('prometheus'), 'default', ['read']))
    expect(parseMetrics(await answer.text()).map(({ name }) => name)).toContain('tollgate_requests_total')
    expect((await scrape(await newKey(open, unique('caller')))).status).toBe(403)
  })

  test('answers whether it lives, and nothing else', async () => {
    const health = await fetch(`${server.url}/health`)
    expect(health.headers.get('content-length')).toBe('17')
    expect(await health.json()).toEqual({ status: 'live' })
    expect((await fetch(`${server.url}/api/generate`)).status).toBe(404)
    expect((await fetch(`${server.url}/admin`)).status).toBe(404)
    expect(await rawStatus(server, { path: 'http://[' })).toBe(400)
    expect(await rawStatus(server, { path: '//' })).toBe(404)
  })
})

test('a stream whose head can’t be written is given up, and its client answered', async () => {
  const cancelled = Promise.withResolvers<unknown>()
  const body = streamBody({ read: () => new Promise<undefined>(() => {}), cancel: cancelled.resolve })
  const entry: Entry = async () => ({ kind: 'response', status: 200, headers: { 'x-lines': 'a\nb' }, body })
  const bare = createServer(nodeHttp(entry, { behindProxy: false, log: () => {}, inFlight: requestsInFlight() }))
  await new Promise<void>((resolve) => bare.listen(0, '127.0.0.1', resolve))
  const { port } = bare.address() as AddressInfo
  expect((await fetch(`http://127.0.0.1:${port}/`)).status).toBe(500)
  expect(await cancelled.promise).toMatchObject({ code: 'ERR_INVALID_CHAR' })
  bare.close()
})

describe('in memory', () => {
  test('makes a key, prints it, and lets a stream end when it is told to stop', async () => {
    const alone = await start({})
    try {
      const key = /"key":"(tg_\w+)"/.exec(alone.output())?.[1] ?? ''
      const prompt = unique('last')
      const stopped = Promise.withResolvers<void>()
      // Once: a second signal ends the process at once.
      const stop = () => {
        if (!alone.process.killed) alone.process.kill('SIGTERM')
        stopped.resolve()
      }
      model.next(prompt, whole({ before: (index) => (index === 2 ? stopped.promise : undefined) }))
      const answer = await complete(alone, {
        prompt,
        key,
        stream: true,
        onText: stop,
      })
      expect([answer.whole, answer.broke]).toEqual([true, false])
      await expect.poll(() => alone.process.exitCode).toBe(0)
    } finally {
      await alone.stop('SIGKILL')
    }
  })

  test('says what is wrong with a setting, and ends', async () => {
    await expect(start({ TOLLGATE_STORAGE: 'somewhere' })).rejects.toThrow('TOLLGATE_STORAGE is neither')
    await expect(start({ TOLLGATE_REDIS: 'redis://llm.example' })).rejects.toThrow('TOLLGATE_REDIS points to a Redis')
  })
})

describe.skipIf(noRedis)(noRedis ?? 'on Redis', () => {
  test('two processes share counters and completions', async () => {
    const redis = await startRedis()
    const settings = {
      TOLLGATE_STORAGE: inject('azurite'),
      TOLLGATE_REDIS: redis.url,
      TOLLGATE_CACHE_DEADLINE_MS: '2000',
      TOLLGATE_POLICY: join(folder, 'tollgate.policy.yaml'),
    }
    const [one, other] = await Promise.all([start(settings), start(settings)])
    try {
      const headers = { 'x-api-key': await newKey(open, unique('few'), 'few') }
      const body = JSON.stringify({ prompt: unique('Why?') })
      const answers = [await generate(one, body, headers), await generate(other, body, headers)]
      expect(answers.map(({ status }) => status)).toEqual([200, 200])
      expect(answers[1]?.headers.get('cache-status')).toContain('hit')
      expect((await generate(one, body, headers)).status).toBe(429)
    } finally {
      await Promise.all([one.stop(), other.stop()])
      await redis.close()
    }
  })
})

describe('the image', () => {
  const docker = spawnSync('docker', ['info'], { encoding: 'utf8' })
  if (docker.status !== 0) console.log('No Docker daemon answers here: the image of examples/portable is not built.')

  test('copies what is built, and does not run as root', () => {
    const steps = readFileSync(join(EXAMPLE, 'Dockerfile'), 'utf8').split('\n')
    const copied = steps.filter((step) => step.startsWith('COPY ')).flatMap((step) => step.split(' ').slice(1, -1))
    expect(copied).toEqual(['dist/server.cjs'])
    expect(copied.every((file) => existsSync(join(EXAMPLE, file)))).toBe(true)
    expect(steps.indexOf('USER node')).toBeGreaterThan(0)
  })

  test.skipIf(docker.status !== 0)('builds, and answers', { timeout: 300_000 }, () => {
    const tag = unique('tollgate-portable')
    const run = (...args: string[]) => spawnSync('docker', args, { encoding: 'utf8' })
    try {
      expect(run('build', '--tag', tag, EXAMPLE)).toMatchObject({ status: 0 })
      const user = run('run', '--rm', tag, 'node', '-p', 'process.getuid()')
      expect(user.stdout.trim()).not.toBe('0')
      const name = unique('portable')
      run('run', '--detach', '--rm', '--name', name, '--env', 'OPENAI_API_KEY=x', tag)
      const asked = () =>
        run(
          'exec',
          name,
          'node',
          '-e',
          "fetch('http://127.0.0.1:8080/health').then(async r => console.log(await r.text()))",
        )
      expect(asked().stdout).toContain('live')
      run('stop', name)
    } finally {
      run('image', 'rm', '--force', tag)
    }
  })
})
