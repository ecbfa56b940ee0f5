import { createHmac } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import * as z from 'zod'
import { baseContext } from '../../../../test/support/base-context.ts'
import { calledAt, modelCall, statusOf } from '../../../../test/support/model-call.ts'
import { textOf } from '../../../../test/support/replies.ts'
import { startUpstream, type Upstream } from '../../../../test/support/upstream.ts'
import { policyJsonSchema, type ResolveOptions, resolvePolicy } from '../policy/index.ts'
import { connect, upstream } from '../upstream/index.ts'
import { fromEnv, TARGET_KINDS, TargetFault, type TargetKind, type TargetSettings } from './index.ts'

/* A composition's own kind of target, from the policy to the socket. */

interface LocalSettings extends TargetSettings {
  readonly port: number
  readonly secret: string | undefined
}

const document = z.strictObject({
  host: z.string().default('127.0.0.1'),
  port: z.int().min(1).max(65_535),
  model: z.string(),
  secret: fromEnv.optional(),
})

/** A server told by its port, with or without a signature over each body. */
const local: TargetKind<z.infer<typeof document>, LocalSettings> = {
  name: 'local',
  description: 'A server on this machine.',
  document,
  example: '{port: 8080, model: m}',
  servedAs: ({ model }) => model,
  resolve({ host, port, model, secret }, context) {
    if (port < 1024) throw new TargetFault('the port is one of the system. Choose another.')
    context.url(`http://${host}:${port}`)
    return { kind: 'local', port, model, secret: secret && context.secret(secret, 'secret') }
  },
  place: ({ port }) => ({ url: `http://127.0.0.1:${port}/`, api: 'plain' }),
  template: ({ port, secret }, { path }) => ({
    url: new URL(path, `http://127.0.0.1:${port}`),
    headers: ['content-type', 'application/json', 'x-kind', 'local'],
    ...(secret === undefined
      ? {}
      : {
          authorize: async (body) => [
            'x-signature',
            createHmac('sha256', secret)
              .update(body ?? '')
              .digest('hex'),
          ],
        }),
  }),
}

const targetKinds = [...TARGET_KINDS, local]
const BOUNDS = { env: { OPENAI_SECRET: 'hush' }, readable: ['OPENAI_*'], hosts: ['127.0.0.1'] }
const resolve = (target: object, change: Partial<ResolveOptions> = {}) =>
  resolvePolicy(
    { models: { own: { targets: [target] } } },
    { source: 'p', bounds: BOUNDS, defaultTarget: undefined, targetKinds, ...change },
  )
const targetOf = (target: object, change?: Partial<ResolveOptions>) => {
  const [resolved] = resolve(target, change).models.get('own')?.targets ?? []
  if (resolved === undefined) throw new Error('The policy has no such target')
  return resolved
}

describe('a policy', () => {
  test('says where a target of the kind is; id and identity are of its place, and of no secret', () => {
    const target = targetOf({ local: { port: 8080, model: 'm', secret: { env: 'OPENAI_SECRET' } } })
    expect(target.settings).toEqual({ kind: 'local', port: 8080, model: 'm', secret: 'hush' })
    expect(target.id).toMatch(/^local:m:[0-9a-f]{12}$/)
    expect(JSON.parse(target.identity)).toEqual(['local', '127.0.0.1:8080/', 'm', 'plain'])
    expect(targetOf({ local: { port: 8081, model: 'm' } }).id).not.toBe(target.id)
    expect(targetOf({ local: { port: 8080, model: 'm' } }).id).toBe(target.id)
  })

  test('is another revision where another variable holds the secret, and not where its value is another', () => {
    const bounds = { ...BOUNDS, env: { OPENAI_SECRET: 'hush', OPENAI_OTHER: 'hush' } }
    const revision = (env: string, change?: Partial<ResolveOptions>) =>
      resolve({ local: { port: 8080, model: 'm', secret: { env } } }, { bounds, ...change }).revision
    const other = { ...bounds, env: { OPENAI_SECRET: 'another' } }
    expect(revision('OPENAI_OTHER')).not.toBe(revision('OPENAI_SECRET'))
    expect(revision('OPENAI_SECRET', { bounds: other })).toBe(revision('OPENAI_SECRET'))
  })

  test('is told in the kind’s words what is wrong with it', () => {
    expect(() => resolve({ ours: {} })).toThrow('must be {azure: …}, {openai: …}, {generate: …} or {local: …}')
    expect(() => resolve({ lokal: {} })).toThrow("Did you mean 'local' by 'lokal'?")
    expect(() => resolve({ local: 1 })).toThrow('such as {port: 8080, model: m}')
    expect(() => resolve({ local: { port: 80, model: 'm' } })).toThrow(
      'models.own.targets[0]: the port is one of the system.',
    )
    expect(() => resolve({ local: { port: 8080, model: 'm' } }, { targetKinds: TARGET_KINDS })).toThrow(
      'must be {azure: …}, {openai: …} or {generate: …}',
    )
  })

  test('has it in its JSON Schema where the composition has it', () => {
    expect(JSON.stringify(policyJsonSchema(undefined, targetKinds))).toContain('A server on this machine.')
    expect(JSON.stringify(policyJsonSchema())).not.toContain('A server on this machine.')
  })

  test('reaches no host and reads no variable that the operator doesn’t allow', () => {
    expect(() => resolve({ local: { host: 'llm.example', port: 8080, model: 'm' } })).toThrow('TOLLGATE_TARGET_HOSTS')
    const secret = { env: 'TOLLGATE_CACHE_SECRET' }
    expect(() => resolve({ local: { port: 8080, model: 'm', secret } })).toThrow('TOLLGATE_POLICY_ENV')
  })

  test('reaches none by a kind that forgot to ask', () => {
    const careless: TargetKind = { ...local, resolve: () => ({ kind: 'local', model: 'm' }) }
    const kinds = [...TARGET_KINDS, { ...careless, place: () => ({ url: 'https://llm.example/', api: '' }) }]
    expect(() => resolve({ local: { port: 8080, model: 'm' } }, { targetKinds: kinds })).toThrow(
      "'llm.example' is no known model host",
    )
  })
})

describe('a call', () => {
  let model: Upstream
  beforeAll(async () => {
    model = await startUpstream()
  })
  afterAll(() => model.close())

  const token = async () => 'entra-token'
  async function ask(target: object, options: Partial<Parameters<typeof connect>[0]> = {}) {
    const transport = connect({ token, targetKinds, ...options })
    const bounds = { firstByteMs: 10_000, totalMs: 10_000, idleMs: 1_000, streamTotalMs: 10_000 }
    const call = modelCall()
    const handler = upstream({ transport, ...bounds })
    const resolving = { targetKinds: options.targetKinds ?? targetKinds }
    return handler(call, { ...baseContext(), ...calledAt(call, targetOf(target, resolving)) })
  }
  const port = () => Number(new URL(model.origin).port)

  test.each([
    ['undici', {}],
    ['a fetch', { fetch }],
  ])('is made as the kind says, by %s', async (_way, options) => {
    const reply = await ask({ local: { port: port(), model: 'mine' } }, options)
    expect(await textOf(reply)).toContain('Why?')
    const asked = model.calls.at(-1)
    expect(asked?.path).toBe('/chat/completions')
    expect(asked?.body).toMatchObject({ model: 'mine' })
    expect(asked?.headers).toMatchObject({ 'x-kind': 'local', 'content-type': 'application/json' })
    expect(asked?.headers['x-request-id']).toBe('r')
    expect(asked?.headers).not.toHaveProperty('x-signature')
  })

  test.each([
    ['undici', {}],
    ['a fetch', { fetch }],
  ])('is signed over its own body, by %s', async (_way, options) => {
    const reply = await ask({ local: { port: port(), model: 'm', secret: { env: 'OPENAI_SECRET' } } }, options)
    expect(statusOf(reply)).toBe(200)
    const asked = model.calls.at(-1)
    const signature = createHmac('sha256', 'hush').update(JSON.stringify(asked?.body)).digest('hex')
    expect(asked?.headers['x-signature']).toBe(signature)
  })

  test('is given no Entra token by a kind that asks for one outside of Azure AI', async () => {
    const greedy: TargetKind = {
      ...(local as TargetKind),
      template: async (settings, asked) => ({
        ...(await local.template(settings as LocalSettings, asked)),
        authorize: async (_body, token) => ['authorization', await token()],
      }),
    }
    const before = model.calls.length
    const asking = ask({ local: { port: port(), model: 'm' } }, { targetKinds: [...TARGET_KINDS, greedy] })
    expect(statusOf(await asking)).toBe(502)
    expect(model.calls).toHaveLength(before)
  })

  test('of a kind that the composition doesn’t have is a fault that names it', async () => {
    const transport = connect({ token })
    const { signal } = new AbortController()
    const { settings } = targetOf({ local: { port: port(), model: 'm' } })
    const sending = transport.send(settings, { path: '/chat/completions' }, Buffer.from('{}'), { signal, progress: {} })
    await expect(sending).rejects.toThrow("'local' is no kind of target")
  })
})
