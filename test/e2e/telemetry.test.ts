import { randomBytes } from 'node:crypto'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { samplerOf } from '@tollgate/middleware'
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest'
import { type Envelope, type Ingestion, startIngestion } from '../support/application-insights.ts'
import { newKey, unique } from '../support/consumers.ts'
import { BARE_HOST, type RunningHost, startHost } from '../support/host.ts'
import { type OtlpReceiver, type OtlpSpan, startOtlpReceiver } from '../support/otlp-receiver.ts'
import { openAccount, tableClient } from '../support/tables.ts'
import { answering, failing, startUpstream, streaming } from '../support/upstream.ts'

/*
 * What the app sends of itself: the bundle in the local host, real servers in the places of Application Insights and of a
 * collector. All is sent at the latest when the host ends.
 */

const open = openAccount(inject('azurite'))
const ANSWER_MARK = 'ANSWER-zq81x'
const PROMPT_MARK = 'PROMPT-zq81x'

interface Line {
  readonly event: string
  readonly requestId: string
  readonly traceId?: string
  readonly status: number
  readonly cache?: string
  readonly usage?: Readonly<Record<string, number>>
  readonly costNanoUsd?: number
}

/** A request that was made, and what is known of it outside. */
interface Made {
  readonly id: string
  readonly traceId: string
  readonly parentId: string
  /** What its model's server was sent. */
  readonly modelsTrace: string | undefined
  readonly line: Line
}

interface Run {
  readonly made: readonly Made[]
  readonly secrets: readonly string[]
  readonly output: string
}

const SETTINGS = { TOLLGATE_POLICY: 'test/contract/operations.yaml', TOLLGATE_CACHE_DEADLINE_MS: '5000' }

/** Requests of each kind through a host with these settings, until it has ended. */
async function run(settings: Record<string, string>): Promise<Run> {
  const upstream = await startUpstream()
  const host = await startHost(
    {
      ...SETTINGS,
      TOLLGATE_STORAGE: inject('azurite'),
      OPENAI_BASE_URL: upstream.baseUrl,
      OPENAI_API_KEY: 'sk-zq81x',
      ...settings,
    },
    BARE_HOST,
  )
  try {
    const key = await newKey(open, unique('traced'), 'ample')
    const asked: Omit<Made, 'line'>[] = []
    const ask = async (prompt: string, { stream = false, with: used = key } = {}) => {
      const [id, traceId, parentId] = [unique('id'), randomBytes(16).toString('hex'), randomBytes(8).toString('hex')]
      upstream.calls.length = 0
      const response = await fetch(`${host.url}/api/generate`, {
        method: 'POST',
        headers: { 'x-api-key': used, 'x-request-id': id, traceparent: `00-${traceId}-${parentId}-01` },
        body: JSON.stringify({ prompt, stream }),
      })
      await response.text()
      const modelsTrace = upstream.calls[0]?.headers.traceparent
      asked.push({ id, traceId, parentId, modelsTrace: typeof modelsTrace === 'string' ? modelsTrace : undefined })
    }
    upstream.reply = answering((answer) => {
      const [choice] = answer.choices
      if (choice !== undefined) choice.message.content = ANSWER_MARK
      return answer
    })
    const prompt = unique(PROMPT_MARK)
    await ask(prompt)
    await ask(prompt)
    upstream.reply = streaming([ANSWER_MARK, 'b'])
    await ask(unique(PROMPT_MARK), { stream: true })
    await ask(unique(PROMPT_MARK), { with: 'tg_none' })
    upstream.reply = failing(500, { message: `${ANSWER_MARK} broke` })
    await ask(unique(PROMPT_MARK))
    // A row that no version writes: what reads it fails in our own code.
    const broken = await newKey(open, unique('broken'), 'ample')
    const [, publicId = ''] = broken.split('_')
    await tableClient(inject('azurite'), 'tollgatekeys').updateEntity({
      partitionKey: publicId,
      rowKey: 'key',
      consumer: 7,
    })
    await ask(unique(PROMPT_MARK), { with: broken })
    await host.stop()
    const lines = linesOf(host)
    const made = asked.map((each) => {
      const line = lines.find(({ requestId }) => requestId === each.id)
      if (line === undefined) throw new Error(`No line of ${each.id}`)
      return { ...each, line }
    })
    return { made, secrets: [PROMPT_MARK, ANSWER_MARK, key, broken, 'sk-zq81x', 'tg_none'], output: host.output() }
  } finally {
    await host.stop('SIGKILL')
    await upstream.close()
  }
}

function linesOf(host: RunningHost): Line[] {
  return [...host.output().matchAll(/\{"event":"request".*\}$/gm)].map(([line]) => JSON.parse(line) as Line)
}

/** The sum of a figure over all lines. */
function sumOf(made: readonly Made[], figure: (line: Line) => number | undefined): number {
  return made.reduce((sum, { line }) => sum + (figure(line) ?? 0), 0)
}

describe('to Application Insights', () => {
  let ingestion: Ingestion
  let ran: Run
  beforeAll(async () => {
    ingestion = await startIngestion()
    ran = await run({
      APPLICATIONINSIGHTS_CONNECTION_STRING: ingestion.connectionString,
      NODE_EXTRA_CA_CERTS: ingestion.certificateFile,
      HTTPS_PROXY: ingestion.proxy,
    })
  }, 60_000)
  afterAll(() => ingestion?.close())

  const dependencies = () => ingestion.envelopes.filter(({ data }) => data.baseType === 'RemoteDependencyData')
  const requestOf = ({ id }: Made) =>
    dependencies().filter(({ data }) => data.baseData.properties?.['tollgate.request_id'] === id)
  const callsOf = ({ traceId }: Made) =>
    dependencies().filter(
      ({ tags, data }) => tags['ai.operation.id'] === traceId && data.baseData.name?.startsWith('chat '),
    )

  test('it goes to the ingestion’s path, packed, and by the environment’s proxy', () => {
    expect(ingestion.requests.length).toBeGreaterThan(0)
    for (const { path, encoding, authorization } of ingestion.requests) {
      expect([path.split('?')[0], encoding, authorization]).toEqual(['/v2.1/track', 'gzip', undefined])
    }
    expect(ran.output).not.toContain('telemetry not')
  })

  test('every request comes once, in the trace of its invocation, under the host’s own request', () => {
    const ids: unknown[] = []
    for (const made of ran.made) {
      const [request, ...twice] = requestOf(made)
      expect([twice, request?.tags['ai.operation.id'], made.line.traceId]).toEqual([[], made.traceId, made.traceId])
      const parent = request?.tags['ai.operation.parentId']
      expect(parent).toMatch(/^[\da-f]{16}$/)
      // The host's span is between: it is in the client's trace, and the client's span is its parent.
      expect(parent).not.toBe(made.parentId)
      const { id, success, properties } = request?.data.baseData ?? {}
      expect([success, properties?.['tollgate.status']]).toEqual([made.line.status < 500, String(made.line.status)])
      ids.push(id)
    }
    // The host writes the request; here that would be one too many.
    expect(ingestion.envelopes.filter(({ data }) => data.baseType === 'RequestData')).toEqual([])
    const all = dependencies().map(({ data }) => data.baseData.id)
    expect(new Set(all).size).toBe(all.length)
    expect(new Set(ids).size).toBe(ran.made.length)
  })

  test('each call to a model is a dependency of it, and the span that its server was told', () => {
    for (const made of ran.made) {
      const calls = callsOf(made)
      const [request] = requestOf(made)
      expect(calls.length).toBe(made.modelsTrace === undefined ? 0 : 1)
      for (const { tags, data } of calls) {
        expect(tags['ai.operation.parentId']).toBe(request?.data.baseData.id)
        expect(made.modelsTrace).toBe(`00-${made.traceId}-${data.baseData.id}-01`)
        const told = data.baseData.properties ?? {}
        expect(told).toMatchObject({
          'gen_ai.system': 'openai',
          'gen_ai.provider.name': 'openai',
          'gen_ai.operation.name': 'chat',
          'tollgate.model': 'default',
        })
        const { usage, costNanoUsd } = made.line
        if (usage !== undefined) {
          expect([
            told['gen_ai.usage.input_tokens'],
            told['gen_ai.usage.output_tokens'],
            told['tollgate.cost_nano_usd'],
          ]).toEqual([usage.input, usage.output, costNanoUsd].map(String))
        }
      }
    }
    expect(ran.made.map(({ modelsTrace }) => modelsTrace !== undefined)).toEqual([
      true,
      false,
      true,
      false,
      true,
      false,
    ])
    const failed = dependencies().filter(
      ({ data }) => data.baseData.name?.startsWith('chat ') && !data.baseData.success,
    )
    expect(failed.map(({ data }) => data.baseData.resultCode)).toEqual(['500'])
  })

  test('what was waited for in a store is a dependency of the same request', () => {
    const waits = dependencies().filter(({ data }) => data.baseData.type === 'azure.tables')
    // The first request looks up its key, whatever else it waits for.
    expect(waits.map(({ data }) => data.baseData.name)).toContain('tollgate key')
    const parents = new Set(ran.made.flatMap((made) => requestOf(made).map(({ data }) => data.baseData.id)))
    for (const { tags } of waits) expect(parents).toContain(tags['ai.operation.parentId'])
  })

  test('a fault is an exception of its request, once, and only of that one', () => {
    const [broken] = ran.made.filter(({ line }) => line.status === 500)
    const exceptions = ingestion.envelopes.filter(({ data }) => data.baseType === 'ExceptionData')
    expect(exceptions).toHaveLength(1)
    const [{ tags, data } = { tags: {} as Envelope['tags'], data: undefined }] = exceptions
    const [request] = requestOf(broken as Made)
    expect(tags['ai.operation.id']).toBe(broken?.traceId)
    expect(tags['ai.operation.parentId']).toBe(request?.data.baseData.id)
    const [exception, ...more] = data?.baseData.exceptions ?? []
    expect(more).toEqual([])
    expect(exception).toMatchObject({ typeName: 'TypeError', message: expect.stringContaining('is not a function') })
    expect(exception?.stack).toContain('    at ')
  })

  test('its metrics are the log lines’ figures, to the last', () => {
    const points = ingestion.envelopes
      .filter(({ data }) => data.baseType === 'MetricData')
      .flatMap(({ data: { baseData } }) =>
        (baseData.metrics ?? []).map((metric) => ({ ...metric, of: baseData.properties ?? {} })),
      )
    const sum = (name: string, match: Record<string, string> = {}) =>
      points
        .filter(
          (point) => point.name === name && Object.entries(match).every(([key, value]) => point.of[key] === value),
        )
        .reduce((total, { value }) => total + value, 0)
    expect(sum('tollgate.requests')).toBe(ran.made.length)
    expect(sum('tollgate.requests', { 'tollgate.cache': 'hit', 'tollgate.outcome': 'answered' })).toBe(1)
    expect(sum('tollgate.requests', { 'tollgate.refusal': 'invalid_api_key', 'tollgate.model': '' })).toBe(1)
    expect(sum('tollgate.cost')).toBe(sumOf(ran.made, ({ costNanoUsd }) => costNanoUsd))
    expect(sum('gen_ai.client.token.usage', { 'gen_ai.token.type': 'input' })).toBe(
      sumOf(ran.made, ({ usage }) => usage?.input),
    )
    expect(sum('gen_ai.client.token.usage', { 'gen_ai.token.type': 'output' })).toBe(
      sumOf(ran.made, ({ usage }) => usage?.output),
    )
    // Of consumers there is no bound.
    expect(points.filter(({ of }) => Object.keys(of).some((key) => /consumer|plan|request_id/.test(key)))).toEqual([])
  })

  test('no prompt, no answer and no key is in any byte of it', () => {
    expect(ingestion.bodies.join('')).toContain('tollgate generate')
    for (const secret of ran.secrets) expect(ingestion.bodies.filter((body) => body.includes(secret))).toEqual([])
  })
})

describe('to a collector of OpenTelemetry’s protocol', () => {
  let receiver: OtlpReceiver
  let ran: Run
  beforeAll(async () => {
    receiver = await startOtlpReceiver()
    ran = await run({
      OTEL_EXPORTER_OTLP_ENDPOINT: receiver.url,
      OTEL_EXPORTER_OTLP_HEADERS: 'x-team=gate%20keepers',
      OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE: 'delta',
      OTEL_SERVICE_NAME: 'gate',
      OTEL_RESOURCE_ATTRIBUTES: 'deployment.environment.name=test,service.name=other',
    })
  }, 60_000)
  afterAll(() => receiver?.close())

  const spansOf = ({ traceId }: Made) => receiver.spans.filter((span) => span.traceId === traceId)
  const requestOf = (made: Made): OtlpSpan | undefined =>
    spansOf(made).find(({ name }) => name === 'tollgate generate' || name === 'tollgate')

  test('it goes where the variables say, with their headers and names', () => {
    expect(new Set(receiver.requests.map(({ path }) => path))).toEqual(new Set(['/v1/traces', '/v1/metrics']))
    for (const { headers } of receiver.requests) expect(headers['x-team']).toBe('gate keepers')
    for (const { resource } of [...receiver.spans, ...receiver.points]) {
      expect(resource).toMatchObject({ 'service.name': 'gate', 'deployment.environment.name': 'test' })
      expect(resource['service.instance.id']).toMatch(/^[\da-f-]{36}$/)
    }
    expect(ran.output).not.toContain('telemetry not')
  })

  test('every request is one server span, since this host records none, under its client’s; its calls are below it', () => {
    const SERVER = 2
    const CLIENT = 3
    expect(receiver.spans.filter(({ kind }) => kind === SERVER)).toHaveLength(ran.made.length)
    for (const made of ran.made) {
      const request = requestOf(made)
      expect([request?.kind, request?.parentSpanId]).toEqual([SERVER, made.parentId])
      const below = spansOf(made).filter((span) => span !== request)
      for (const span of below) expect([span.kind, span.parentSpanId]).toEqual([CLIENT, request?.spanId])
      const calls = below.filter(({ name }) => name.startsWith('chat '))
      expect(calls.map(({ spanId }) => `00-${made.traceId}-${spanId}-01`)).toEqual(
        made.modelsTrace === undefined ? [] : [made.modelsTrace],
      )
      for (const { attributes, start, end, failed } of calls) {
        expect(attributes).toMatchObject({ 'gen_ai.provider.name': 'openai', 'server.address': '127.0.0.1' })
        const { usage } = made.line
        if (usage !== undefined)
          expect(attributes).toMatchObject({
            'gen_ai.usage.input_tokens': usage.input,
            'gen_ai.usage.output_tokens': usage.output,
          })
        expect(failed ? attributes['error.type'] : undefined).toBe(made.line.status === 502 ? '500' : undefined)
        expect(end >= start && start >= (request?.start ?? 0n)).toBe(true)
      }
    }
    const ids = receiver.spans.map(({ spanId }) => spanId)
    expect(new Set(ids).size).toBe(ids.length)
  })

  test('its metrics are the log lines’ figures, as differences', () => {
    const DELTA = 1
    expect(new Set(receiver.points.map(({ temporality }) => temporality))).toEqual(new Set([DELTA]))
    const sum = (name: string, match: Record<string, string> = {}) =>
      receiver.points
        .filter(
          ({ metric, attributes }) =>
            metric === name && Object.entries(match).every(([key, value]) => attributes[key] === value),
        )
        .reduce((total, point) => total + point.sum, 0)
    expect(sum('tollgate.requests')).toBe(ran.made.length)
    expect(sum('tollgate.cost')).toBe(sumOf(ran.made, ({ costNanoUsd }) => costNanoUsd))
    expect(sum('gen_ai.client.token.usage', { 'gen_ai.token.type': 'input' })).toBe(
      sumOf(ran.made, ({ usage }) => usage?.input),
    )
    const durations = receiver.points.filter(({ metric }) => metric === 'gen_ai.client.operation.duration')
    expect(durations.reduce((total, { count = 0 }) => total + count, 0)).toBe(3)
    expect(durations.flatMap(({ attributes }) => attributes['error.type'] ?? [])).toEqual(['500'])
    expect(
      receiver.points.filter(({ metric }) => metric === 'gen_ai.client.operation.time_to_first_chunk'),
    ).toHaveLength(1)
  })

  test('no prompt, no answer and no key is in any byte of it', () => {
    expect(receiver.bodies.some((body) => body.includes('tollgate generate'))).toBe(true)
    for (const secret of ran.secrets) expect(receiver.bodies.filter((body) => body.includes(secret))).toEqual([])
  })
})

describe('to Application Insights by Entra, and a part of all traces', () => {
  let ingestion: Ingestion
  let identity: Identity
  let ran: Run
  const RATIO = '0.75'
  beforeAll(async () => {
    ;[ingestion, identity] = await Promise.all([startIngestion(), startIdentity()])
    ran = await run({
      APPLICATIONINSIGHTS_CONNECTION_STRING: ingestion.connectionString,
      APPLICATIONINSIGHTS_AUTHENTICATION_STRING: 'ClientId=11111111-2222-3333-4444-555555555555;Authorization=AAD',
      IDENTITY_ENDPOINT: identity.url,
      IDENTITY_HEADER: 'h',
      NODE_EXTRA_CA_CERTS: ingestion.certificateFile,
      HTTPS_PROXY: ingestion.proxy,
      OTEL_TRACES_SAMPLER: 'parentbased_traceidratio',
      OTEL_TRACES_SAMPLER_ARG: RATIO,
    })
  }, 60_000)
  afterAll(async () => {
    await ingestion?.close()
    await identity?.close()
  })

  test('it signs in as the identity that is named, for that alone', () => {
    expect(ingestion.requests.length).toBeGreaterThan(0)
    for (const { authorization } of ingestion.requests) expect(authorization).toBe('Bearer TOKEN-zq81x')
    expect(identity.asked.length).toBeGreaterThan(0)
    for (const { searchParams } of identity.asked) {
      expect([searchParams.get('client_id'), searchParams.get('resource')]).toEqual([
        '11111111-2222-3333-4444-555555555555',
        'https://monitor.azure.com',
      ])
    }
    expect(`${ran.output}${ingestion.bodies.join('')}`).not.toContain('TOKEN-zq81x')
  })

  test('spans are of the kept traces alone, and say what part that is; metrics count all', () => {
    const kept = samplerOf('traceidratio', RATIO)?.sampler
    const spans = ingestion.envelopes.filter(({ data }) => data.baseType === 'RemoteDependencyData')
    const sent = spans.flatMap(({ data }) => data.baseData.properties?.['tollgate.request_id'] ?? [])
    expect(sent.toSorted()).toEqual(
      ran.made
        .filter(({ traceId }) => kept?.(traceId, undefined))
        .map(({ id }) => id)
        .toSorted(),
    )
    expect(new Set(spans.map(({ sampleRate }) => sampleRate))).toEqual(new Set(sent.length > 0 ? [75] : []))
    const requests = ingestion.envelopes
      .flatMap(({ data }) => data.baseData.metrics ?? [])
      .filter(({ name }) => name === 'tollgate.requests')
    expect(requests.reduce((sum, { value }) => sum + value, 0)).toBe(ran.made.length)
    // What the model's server is told goes by the same decision.
    for (const { traceId, modelsTrace } of ran.made) {
      if (modelsTrace !== undefined) expect(modelsTrace.endsWith('-01')).toBe(kept?.(traceId, undefined))
    }
  })
})

interface Identity {
  readonly url: string
  readonly asked: URL[]
  close(): Promise<void>
}

/** Where the Functions platform serves tokens of the app's identities. */
async function startIdentity(): Promise<Identity> {
  const server = createServer((request, response) => {
    identity.asked.push(new URL(request.url ?? '', identity.url))
    const expires = Math.floor(Date.now() / 1_000) + 3_600
    response.writeHead(200, { 'content-type': 'application/json' })
    response.end(
      JSON.stringify({ access_token: 'TOKEN-zq81x', expires_on: String(expires), token_type: 'Bearer', resource: 'r' }),
    )
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const identity: Identity = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/token`,
    asked: [],
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
  return identity
}

describe('the end of the app', () => {
  test('waits for a collector that never answers no longer than the rest of it may take', async () => {
    const [receiver, upstream] = await Promise.all([startOtlpReceiver(), startUpstream()])
    receiver.status = 0
    const host = await startHost(
      {
        ...SETTINGS,
        TOLLGATE_STORAGE: inject('azurite'),
        OPENAI_BASE_URL: upstream.baseUrl,
        OPENAI_API_KEY: 'sk',
        OTEL_EXPORTER_OTLP_ENDPOINT: receiver.url,
      },
      BARE_HOST,
    )
    try {
      expect((await fetch(`${host.url}/api/generate`, { method: 'POST', body: '{}' })).status).toBe(401)
      const started = performance.now()
      await host.stop()
      expect(performance.now() - started).toBeLessThan(5_000)
      expect(receiver.requests.length).toBeGreaterThan(0)
    } finally {
      await host.stop('SIGKILL')
      await Promise.all([receiver.close(), upstream.close()])
    }
  })
})
