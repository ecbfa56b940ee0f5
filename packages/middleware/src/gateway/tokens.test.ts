import { createHmac } from 'node:crypto'
import type { ServerResponse } from 'node:http'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { baseContext, replyText, request, textReply } from '../../../../test/support/base-context.ts'
import { handClock } from '../../../../test/support/hand-clock.ts'
import { type LocalIssuer, newSigningKey, startIssuer } from '../../../../test/support/issuer.ts'
import {
  authenticate,
  type Caller,
  type ConsumerStore,
  generateKey,
  issueKey,
  keyDirectory,
  memoryConsumerStore,
  type Scope,
  tokenDirectory,
} from '../auth/index.ts'
import { localLimiter } from '../limits/index.ts'
import { pipeline, type Refusal } from '../pipeline/index.ts'
import { connectionCheck, resolvePolicy } from '../policy/index.ts'
import { documentReader } from '../upstream/index.ts'

/* Tokens, checked as the gateway checks them: by the keys of a real HTTP server, under a clock that the test moves. */

const START = Date.UTC(2026, 10, 28)
const TENANT = '11111111-2222-3333-4444-555555555555'
const APP = 'aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee'

let clock: ReturnType<typeof handClock>
let issuer: LocalIssuer
let store: ConsumerStore
let lines: Record<string, unknown>[]
beforeEach(async () => {
  clock = handClock(START)
  issuer = await startIssuer({ now: () => clock.time.wallClock() / 1_000 })
  store = memoryConsumerStore()
  lines = []
})
afterEach(() => issuer.close())

type Document = Record<string, unknown>
const ci = (change: Document = {}): Document => ({
  name: 'ci',
  oidc: { issuer: issuer.origin, audience: 'tollgate', jwks: `${issuer.origin}/keys` },
  roles: { Pro: 'pro', Free: 'free' },
  ...change,
})
const corp = (change: Document = {}): Document => ({
  name: 'corp',
  entra: { tenant: TENANT, audience: `api://${APP}`, authority: issuer.origin },
  roles: { 'Tollgate.Pro': 'pro' },
  ...change,
})
const policyOf = (issuers: readonly Document[], groups?: Document) =>
  resolvePolicy(
    {
      plans: { pro: { limits: [] }, free: { limits: [] } },
      ...(issuers.length > 0 && { identity: { issuers } }),
      ...(groups && { groups }),
    },
    { source: 'test', bounds: { env: {}, readable: [], hosts: ['127.0.0.1'] }, defaultTarget: undefined },
  )

/** A way in. @param scope what is asked for */
function door(first: ReturnType<typeof policyOf>, { easyAuth = false } = {}) {
  let policy = first
  let checks = 0
  const now = () => clock.time.now()
  const bucket = {
    each: { capacity: 60, refill: 1, periodMs: 1_000 },
    total: { capacity: 600, refill: 20, periodMs: 1_000 },
  }
  const guard = localLimiter({ ...bucket, now })
  const tokens = tokenDirectory({
    read: documentReader({ check: connectionCheck({ hosts: () => ['127.0.0.1'] }), env: () => ({}) }),
    guard: {
      reserve(network) {
        checks += 1
        return guard.reserve(network)
      },
    },
    time: clock.time,
    log: (level, event, fields) => lines.push({ level, event, ...fields }),
  })
  const keys = keyDirectory({
    store,
    guard: localLimiter({ ...bucket, now }),
    maxAgeMs: 30_000,
    deadlineMs: 2_000,
    now,
  })
  let caller: Caller | undefined
  const handlerOf = (scope: Scope | readonly [Scope, ...Scope[]]) =>
    pipeline<{ policy: typeof policy }>()
      .use(authenticate({ keys, tokens, trustEasyAuth: easyAuth, scope, wallClock: clock.time.wallClock }))
      .handle((_request, context) => {
        caller = context.consumer
        return textReply(`${context.scope} ${context.consumer.id} ${context.consumer.plan}`)
      })
  const base = baseContext()
  const send = async (
    headers: Record<string, string>,
    { scope = 'call', from = '203.0.113.1' }: { scope?: Scope | readonly [Scope, ...Scope[]]; from?: string } = {},
  ) => {
    const reply = await handlerOf(scope)(
      { ...request, headers: new Headers(headers), clientAddress: from },
      { ...base, policy },
    )
    const refusal: Partial<Refusal> = reply.kind === 'refusal' ? reply : {}
    return {
      status: reply.status,
      text: await replyText(reply),
      headers: reply.headers ?? {},
      message: refusal.message,
    }
  }
  return {
    send,
    /** By a token. */
    knock: (token: string, options?: Parameters<typeof send>[1]) => send({ authorization: `Bearer ${token}` }, options),
    caller: () => caller,
    checks: () => checks,
    put: (next: typeof policy) => {
      policy = next
    },
  }
}

const part = (value: unknown) =>
  Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url')
const json = (response: ServerResponse, value: unknown) =>
  response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(value))

describe('a token lets in', () => {
  test.each(['RS256', 'RS512', 'PS256', 'PS384', 'ES256', 'ES384', 'ES512', 'EdDSA'])(
    'signed by %s, as its issuer’s subject, on the plan of its role',
    async (algorithm) => {
      await issuer.rotate(algorithm)
      const { knock } = door(policyOf([ci()]))
      expect(await knock(await issuer.token({ roles: ['Other', 'Pro'] }))).toMatchObject({
        status: 200,
        text: 'call ~ci~alice pro',
      })
    },
  )

  test('found by the discovery document, whose keys are read once', async () => {
    const { knock } = door(policyOf([ci({ oidc: { issuer: issuer.origin, audience: 'tollgate' } })]))
    const tokens = await Promise.all(['a', 'b', 'c', 'd'].map((sub) => issuer.token({ sub, roles: 'Free' })))
    const answers = await Promise.all(tokens.map((token) => knock(token)))
    expect(answers.map(({ text }) => text)).toEqual(['a', 'b', 'c', 'd'].map((sub) => `call ~ci~${sub} free`))
    expect(issuer.asked).toEqual(['/.well-known/openid-configuration', '/keys'])
  })

  test('of Entra, of version 1 and 2, as its tenant’s object', async () => {
    const { knock } = door(policyOf([corp()]))
    const own = {
      tid: TENANT,
      oid: 'F00D',
      sub: 'pairwise',
      roles: ['Tollgate.Pro'],
      name: 'A',
      scp: 'user_impersonation',
    }
    const v2 = { ...own, iss: `${issuer.origin}/${TENANT}/v2.0`, aud: APP, azp: 'app' }
    const v1 = { ...own, iss: `https://sts.windows.net/${TENANT}/`, aud: `api://${APP}`, appid: 'app' }
    for (const claims of [v1, v2, { ...v2, aud: `api://${APP}` }]) {
      expect((await knock(await issuer.token(claims))).text).toBe(`call ~corp~${TENANT}~f00d pro`)
    }
    expect(issuer.asked).toEqual([`/${TENANT}/discovery/v2.0/keys`])
  })

  test.each([
    ['repo:a/b:ref:refs/heads/main', '~ci~repo%3Aa%2Fb%3Aref%3Arefs%2Fheads%2Fmain'],
    ['~ci~bob', '~ci~%7Eci%7Ebob'],
    ["x%7Ey'(1)!*", '~ci~x%257Ey%27%281%29%21%2A'],
    ['é'.repeat(100), `~ci~${'%C3%A9'.repeat(100)}`],
    ['~'.repeat(255), `~ci~${'%7E'.repeat(255)}`],
  ])('by an id in which nothing of a subject can pass for a part: %s', async (sub, id) => {
    const { knock, caller } = door(policyOf([ci()]))
    expect((await knock(await issuer.token({ sub, roles: ['Pro'] }))).status).toBe(200)
    expect(caller()?.id).toBe(id)
  })

  test('with a role where the policy says that they are: another claim, or one within another', async () => {
    const at = (rolesClaim: string) =>
      ci({
        oidc: { issuer: issuer.origin, audience: 'tollgate', jwks: `${issuer.origin}/keys`, rolesClaim },
        roles: { 'a/b': 'pro' },
      })
    const { knock, put } = door(policyOf([at('repository')]))
    expect((await knock(await issuer.token({ repository: 'a/b' }))).status).toBe(200)
    expect((await knock(await issuer.token({ repository: 'a/c' }))).status).toBe(403)
    put(policyOf([at('realm_access.roles')]))
    expect((await knock(await issuer.token({ realm_access: { roles: ['x', 'a/b'] } }))).status).toBe(200)
    expect((await knock(await issuer.token({ realm_access: 'a/b' }))).status).toBe(403)
  })

  test('of several roles by the first in the policy’s table; by none with a 403 that says which there are', async () => {
    const { knock } = door(policyOf([ci()]))
    expect((await knock(await issuer.token({ roles: ['Free', 'Pro'] }))).text).toContain(' pro')
    const refused = await knock(await issuer.token({ roles: ['pro', 'Tollgate.Admin'] }))
    expect(refused).toMatchObject({ status: 403, text: 'insufficient_scope' })
    expect(refused.message).toBe(
      "The token has no role that gives the scope 'call'. Have one of these assigned, which the token tells in 'roles': Pro or Free.",
    )
    expect(refused.headers['www-authenticate']).toContain(
      'error="insufficient_scope", scope="call", resource_metadata="',
    )
  })

  test('to manage, by a role of its own, where the issuer may: Entra’s may, others only where the policy says so', async () => {
    const entra = (roles: string[]) =>
      issuer.token({ iss: `${issuer.origin}/${TENANT}/v2.0`, aud: APP, azp: 'a', tid: TENANT, oid: 'o', roles })
    const at = door(policyOf([corp(), ci()]))
    const both = { scope: ['read', 'admin'] as const }
    expect((await at.knock(await entra(['Tollgate.Read']), both)).text).toMatch(/^read /)
    expect((await at.knock(await entra(['Tollgate.Admin']), both)).text).toMatch(/^read /)
    expect((await at.knock(await entra(['Tollgate.Admin']), { scope: 'admin' })).text).toMatch(/^admin ~corp~.* $/)
    expect((await at.knock(await entra(['Tollgate.Read', 'Tollgate.Pro']), { scope: 'admin' })).status).toBe(403)
    expect((await at.knock(await entra(['Tollgate.Admin']))).status).toBe(403)
    const admin = await issuer.token({ roles: ['Tollgate.Admin'] })
    expect(await at.knock(admin, { scope: 'admin' })).toMatchObject({
      status: 403,
      message: expect.stringContaining("none of the issuer 'ci'"),
    })
    at.put(policyOf([ci({ manage: true })]))
    expect((await at.knock(admin, { scope: 'admin' })).status).toBe(200)
  })

  test('again at once, as the same caller, until it expires, its issuer takes its key back, or the policy says otherwise', async () => {
    const { knock, caller, checks, put } = door(policyOf([ci()]))
    const token = await issuer.token({ roles: ['Pro'] })
    await knock(token)
    const first = caller()
    for (let i = 0; i < 100; i += 1) expect((await knock(token)).status).toBe(200)
    expect(caller()).toBe(first)
    expect(checks()).toBe(1)
    // The same words in another policy are the same issuers.
    put(policyOf([ci()]))
    await knock(token)
    expect([checks(), caller()]).toEqual([1, first])
    put(policyOf([ci({ roles: { Pro: 'free' } })]))
    expect((await knock(token)).text).toBe('call ~ci~alice free')
    clock.pass(359_000)
    expect((await knock(token)).status).toBe(200)
    clock.pass(1_000)
    expect(await knock(token)).toMatchObject({ status: 401, message: 'The token has expired. Get a new one.' })
  })

  test('seen by many at once, with one check and one caller', async () => {
    const { knock, checks } = door(policyOf([ci()]))
    const token = await issuer.token({ roles: ['Pro'] })
    await Promise.all(Array.from({ length: 50 }, () => knock(token)))
    expect([checks(), issuer.asked.length]).toEqual([1, 1])
  })

  test('told apart by its audience from another of the same issuer', async () => {
    const at = (name: string, audience: string, plan: string) =>
      ci({ name, oidc: { issuer: issuer.origin, audience, jwks: `${issuer.origin}/keys` }, roles: { R: plan } })
    const { knock } = door(policyOf([at('one', 'a', 'pro'), at('two', 'b', 'free')]))
    expect((await knock(await issuer.token({ aud: 'b', roles: 'R' }))).text).toBe('call ~two~alice free')
    expect((await knock(await issuer.token({ aud: ['x', 'a'], roles: 'R' }))).text).toBe('call ~one~alice pro')
  })
})

describe('a token is refused', () => {
  const nested = (depth: number) => `${'{"a":'.repeat(depth)}1${'}'.repeat(depth)}`
  test.each<[string, () => Promise<string> | string, RegExp]>([
    ['for another audience', () => issuer.token({ roles: ['Pro'], aud: 'other' }), /aud/],
    ['of another issuer', () => issuer.token({ roles: ['Pro'], iss: 'https://evil.example' }), /iss/],
    ['of an issuer that only begins alike', () => issuer.token({ roles: ['Pro'], iss: `${issuer.origin}/` }), /iss/],
    ['without an issuer', () => issuer.token({ roles: ['Pro'], iss: undefined as never }), /iss/],
    ['expired', () => issuer.token({ exp: START / 1_000 - 61 }), /expired/],
    ['without an expiry', () => issuer.token({ exp: undefined as never }), /exp/],
    ['that does not count yet', () => issuer.token({ nbf: START / 1_000 + 61 }), /nbf/],
    [
      'signed by a stranger’s key under a known name',
      async () => {
        const stranger = await newSigningKey('RS256', { kid: (issuer.shown[0] as { kid: string }).kid })
        return issuer.token({ roles: ['Pro'] }, {}, stranger)
      },
      /signature/,
    ],
    [
      'whose claims were changed',
      async () => {
        const [head, , signature] = (await issuer.token({ roles: ['Free'] })).split('.')
        const at = START / 1_000
        return `${head}.${part({ iss: issuer.origin, aud: 'tollgate', sub: 'root', exp: at + 300, roles: ['Pro'] })}.${signature}`
      },
      /signature/,
    ],
    [
      'without a signature (alg none)',
      async () => {
        const [, body] = (await issuer.token({ roles: ['Pro'] })).split('.')
        return `${part({ alg: 'none', typ: 'JWT' })}.${body}.`
      },
      /algorithm/,
    ],
    [
      'signed by the public key as a secret (HS256)',
      async () => {
        const [shown] = issuer.shown as { kid: string; n: string }[]
        const [, body] = (await issuer.token({ roles: ['Pro'] })).split('.')
        const text = `${part({ alg: 'HS256', typ: 'JWT', kid: shown?.kid })}.${body}`
        return `${text}.${createHmac('sha256', shown?.n ?? '')
          .update(text)
          .digest('base64url')}`
      },
      /algorithm/,
    ],
    [
      'by a key that it brings along',
      async () => {
        const own = await newSigningKey()
        return issuer.token({ roles: ['Pro'] }, { jwk: own.shown, jku: 'http://127.0.0.1:1/', kid: own.shown.kid }, own)
      },
      /no key of its issuer/,
    ],
    ['that is huge', () => issuer.token({ roles: ['Pro'], padding: 'x'.repeat(20_000) }), /16 KiB/],
    ['nested deeply', async () => `${part({ alg: 'RS256' })}.${part(nested(1_500))}.AAAA`, /read/],
    ['whose header is nested deeply', () => `${part(nested(1_500))}.${part({})}.AAAA`, /read/],
    [
      'that asks for what is not understood',
      async () => {
        const [, body, signature] = (await issuer.token()).split('.')
        return `${part({ alg: 'RS256', crit: ['exp'], exp: 1 })}.${body}.${signature}`
      },
      /crit/,
    ],
    ['of another type', () => issuer.token({ roles: ['Pro'] }, { typ: 'logout+jwt' }), /typ/],
    ['whose subject is a number', () => issuer.token({ roles: ['Pro'], sub: 5 as never }), /sub/],
    ['whose subject is empty', () => issuer.token({ roles: ['Pro'], sub: '' }), /sub/],
    ['whose subject is too long', () => issuer.token({ roles: ['Pro'], sub: 'x'.repeat(256) }), /sub/],
    [
      'whose subject would be too long as an id',
      () => issuer.token({ roles: ['Pro'], sub: '日'.repeat(255) }),
      /too long/,
    ],
    ['whose audience is a map', () => issuer.token({ roles: ['Pro'], aud: { tollgate: 1 } as never }), /aud/],
    ['whose expiry is a text', () => issuer.token({ roles: ['Pro'], exp: '9999999999' as never }), /exp/],
    ['whose issuer is a list', () => issuer.token({ roles: ['Pro'], iss: [issuer.origin] as never }), /iss/],
    ['of claims that are a list', () => `${part({ alg: 'RS256' })}.${part([1])}.AAAA`, /read/],
  ])('%s', async (_what, token, message) => {
    const { knock } = door(policyOf([ci()]))
    const refused = await knock(await token())
    expect(refused).toMatchObject({ status: 401, text: 'invalid_token', message: expect.stringMatching(message) })
    expect(refused.headers['www-authenticate']).toBe(
      'Bearer realm="tollgate", error="invalid_token", resource_metadata="http://127.0.0.1/api/.well-known/oauth-protected-resource"',
    )
  })

  test.each<[string, Document, number, RegExp]>([
    ['without an object', { oid: undefined }, 401, /oid/],
    ['whose object is a list', { oid: ['o'] }, 401, /oid/],
    ['without a tenant', { tid: undefined }, 401, /tid/],
    ['of another tenant', { tid: APP }, 401, /tid/],
    ['of an issuer of another tenant', { iss: `https://sts.windows.net/${APP}/` }, 401, /iss/],
    ['that is an ID token', { azp: undefined }, 401, /ID token/],
    ['whose roles are a number', { roles: 7 }, 403, /Tollgate\.Pro/],
    ['with delegated permissions and no role', { roles: undefined, scp: 'Tollgate.Pro' }, 403, /Tollgate\.Pro/],
  ])('of Entra %s', async (_what, change, status, message) => {
    const { knock } = door(policyOf([corp()]))
    const claims = {
      iss: `${issuer.origin}/${TENANT}/v2.0`,
      aud: APP,
      azp: 'a',
      tid: TENANT,
      oid: 'o',
      roles: ['Tollgate.Pro'],
    }
    expect((await knock(await issuer.token(claims))).status).toBe(200)
    expect(await knock(await issuer.token({ ...claims, ...change }))).toMatchObject({
      status,
      message: expect.stringMatching(message),
    })
  })

  test('within a minute of its times not: clocks differ', async () => {
    const { knock } = door(policyOf([ci()]))
    const at = START / 1_000
    expect((await knock(await issuer.token({ roles: 'Pro', exp: at - 59 }))).status).toBe(200)
    expect((await knock(await issuer.token({ roles: 'Pro', nbf: at + 59 }))).status).toBe(200)
  })

  test('wherever it stands but in Authorization, and beside another token', async () => {
    const { send } = door(policyOf([ci()]))
    const [one, two] = [await issuer.token({ roles: 'Pro' }), await issuer.token({ roles: 'Pro', sub: 'bob' })]
    for (const name of ['api-key', 'x-api-key', 'ocp-apim-subscription-key']) {
      expect((await send({ [name]: one })).status).toBe(401)
    }
    expect((await send({ authorization: `Bearer ${one}, Bearer ${two}` })).status).toBe(401)
    expect((await send({ authorization: `Basic ${one}` })).status).toBe(401)
  })

  test('where the policy names no issuer, as it always was', async () => {
    const { knock } = door(policyOf([]))
    const refused = await knock(await issuer.token({ roles: 'Pro' }))
    expect(refused).toMatchObject({ status: 401, text: 'invalid_api_key', message: 'Invalid API key.' })
    expect(refused.headers['www-authenticate']).toBe('Bearer realm="tollgate", error="invalid_token"')
    expect(issuer.asked).toEqual([])
  })

  test('by a flood of forged ones with 429, once they cost a network 60 checks; who was seen before stays in', async () => {
    const { knock, checks } = door(policyOf([ci()]))
    const good = await issuer.token({ roles: 'Pro' })
    expect((await knock(good)).status).toBe(200)
    const [head, body] = (await issuer.token({ roles: 'Pro', sub: 'eve' })).split('.')
    const statuses: number[] = []
    for (let i = 0; i < 300; i += 1) {
      statuses.push((await knock(`${head}.${body}.${part(`forged signature ${i}`.repeat(16).slice(0, 256))}`)).status)
    }
    expect([statuses.filter((status) => status === 401).length, statuses.at(-1)]).toEqual([60, 429])
    expect((await knock(good)).status).toBe(200)
    expect((await knock(await issuer.token({ roles: 'Pro', sub: 'new' }), { from: '198.51.100.7' })).status).toBe(200)
    expect(checks()).toBeGreaterThan(300)
  })

  test('by such a flood not with the next token of who was let in here before, of whatever network', async () => {
    const { knock } = door(policyOf([ci()]))
    const from = '203.0.113.9'
    expect((await knock(await issuer.token({ roles: 'Pro', sub: 'alice' }), { from })).status).toBe(200)
    const forged = async (sub: string, mark: string) => {
      const [head, body] = (await issuer.token({ roles: 'Pro', sub })).split('.')
      return knock(`${head}.${body}.${part(`forged ${mark}`.repeat(32).slice(0, 256))}`, { from })
    }
    for (let i = 0; i < 100; i += 1) await forged('eve', String(i))
    expect((await forged('eve', 'last')).status).toBe(429)
    // An hour's token ends, and another one comes in its place.
    const next = await issuer.token({ roles: 'Pro', sub: 'alice', jti: 'next' })
    expect((await knock(next, { from })).status).toBe(200)
    expect((await knock(await issuer.token({ roles: 'Pro', sub: 'bob' }), { from })).status).toBe(429)
    // Who knows a name has tries of it that are as few.
    const statuses: number[] = []
    for (let i = 0; i < 100; i += 1) statuses.push((await forged('alice', `as alice ${i}`)).status)
    expect(statuses.filter((status) => status === 401)).toHaveLength(60)
    expect((await knock(next, { from })).status).toBe(200)
  })
})

describe('a token beside a key', () => {
  const key = async (consumer: string) =>
    (await issueKey(store, { consumer, plan: 'free', defaultPlan: undefined, plans: ['free'], now: 0 })).key

  test('of ours is a 401, for a token is no key’s consumer; a proxy’s own is passed over', async () => {
    const { send } = door(policyOf([ci()]))
    const [ours, theirs] = [
      await issuer.token({ roles: 'Pro' }),
      await issuer.token({ roles: 'Pro', iss: 'https://proxy.example' }),
    ]
    const alice = await key('alice')
    expect(await send({ authorization: `Bearer ${ours}`, 'api-key': alice })).toMatchObject({
      status: 401,
      message: 'The request carries keys of different consumers. Send one.',
    })
    expect((await send({ authorization: `Bearer ${theirs}`, 'api-key': alice })).text).toBe('call alice free')
    expect((await send({ authorization: `Bearer ${ours}`, 'x-api-key': 'sk-of-another' })).text).toBe(
      'call ~ci~alice pro',
    )
    expect((await send({ authorization: `Bearer ${ours}`, 'x-api-key': generateKey() })).status).toBe(401)
    expect((await send({ authorization: `Bearer ${await issuer.token({ exp: 1 })}`, 'api-key': alice })).status).toBe(
      401,
    )
    expect((await send({ authorization: `Bearer ${alice}` })).text).toBe('call alice free')
  })
})

describe('an issuer', () => {
  /** Lets a moment of real time go by for what is read in the background. */
  const until = async (done: () => boolean) => {
    for (let i = 0; i < 500 && !done(); i += 1) await new Promise((resolve) => setTimeout(resolve, 2))
    expect(done()).toBe(true)
  }

  test('that is down for an hour, and nearly a day, refuses no caller whose key was known', async () => {
    const { knock } = door(policyOf([ci()]))
    await knock(await issuer.token({ roles: 'Pro' }))
    issuer.misbehave = (_path, response) => {
      response.destroy()
      return true
    }
    for (const minutes of [9, 2, 50, 60, 22 * 60 - 2]) {
      clock.pass(minutes * 60_000)
      expect((await knock(await issuer.token({ roles: 'Pro' }))).status).toBe(200)
      await until(() => clock.pending() === 0)
    }
    expect(lines.length).toBeGreaterThan(0)
    expect(lines[0]).toMatchObject({ level: 'warn', event: 'issuer keys not read', issuer: 'ci', kept: true })
    clock.pass(2 * 60_000)
    const refused = await knock(await issuer.token({ roles: 'Pro' }))
    expect(refused).toMatchObject({ status: 503, text: 'issuer_unavailable' })
    expect(Number(refused.headers['retry-after'])).toBeGreaterThan(0)
  })

  test.each<[string, (response: ServerResponse) => unknown]>([
    ['answers 500', (response) => response.writeHead(500).end('{}')],
    ['redirects', (response) => response.writeHead(302, { location: `${issuer.origin}/keys?moved` }).end()],
    ['is garbage', (response) => response.writeHead(200).end('<html>')],
    ['is a list', (response) => json(response, [])],
    ['has no keys', (response) => json(response, { keys: [] })],
    [
      'has secrets alone',
      (response) => json(response, { keys: [{ kty: 'oct', k: 'c2VjcmV0', kid: 'key', alg: 'HS256' }] }),
    ],
    [
      'has odd things for keys',
      (response) =>
        json(response, { keys: [null, 7, {}, { kty: 'RSA', n: 5 }, { kty: 'EC', crv: 'P-256', x: 'a', y: 'b' }] }),
    ],
    ['has short keys', (response) => json(response, { keys: [{ kty: 'RSA', n: 'A'.repeat(171), e: 'AQAB' }] })],
    ['has too many', (response) => json(response, { keys: Array.from({ length: 101 }, () => issuer.shown[0]) })],
    ['is nested deeply', (response) => response.writeHead(200).end(`{"keys":${'['.repeat(50_000)}`)],
    ['never ends', (response) => response.writeHead(200).end(Buffer.alloc(300_000, ' '))],
    [
      'breaks off',
      (response) => response.writeHead(200, { 'content-length': 99 }).end('{"ke', () => response.destroy()),
    ],
  ])('whose set of keys %s is an outage at the start, and changes nothing later', async (_what, answer) => {
    const { knock } = door(policyOf([ci()]))
    const keys = { isBad: true }
    issuer.misbehave = (path, response) => {
      if (path !== '/keys' || !keys.isBad) return false
      answer(response)
      return true
    }
    const token = await issuer.token({ roles: 'Pro' })
    expect(await knock(token)).toMatchObject({ status: 503, text: 'issuer_unavailable' })
    expect(await knock(token)).toMatchObject({ status: 503, headers: { 'retry-after': '5' } })
    expect(issuer.asked).toEqual(['/keys'])
    keys.isBad = false
    clock.pass(5_000)
    expect((await knock(token)).status).toBe(200)

    keys.isBad = true
    clock.pass(11 * 60_000)
    expect((await knock(await issuer.token({ roles: 'Pro' }))).status).toBe(200)
    await until(() => issuer.asked.length === 3 && clock.pending() === 0)
    expect((await knock(await issuer.token({ roles: 'Pro' }))).status).toBe(200)
    expect(issuer.asked.every((path) => path === '/keys')).toBe(true)
  })

  test('whose discovery document is another’s, or names a place that may not be asked, is an outage', async () => {
    const { knock } = door(policyOf([ci({ oidc: { issuer: issuer.origin, audience: 'tollgate' } })]))
    const documents = [
      { issuer: 'https://evil.example', jwks_uri: `${issuer.origin}/keys` },
      { issuer: issuer.origin },
      { issuer: issuer.origin, jwks_uri: 'http://169.254.169.254/keys' },
      { issuer: issuer.origin, jwks_uri: 'https://10.0.0.1/keys' },
      { issuer: issuer.origin, jwks_uri: 'file:///etc/passwd' },
    ]
    for (const document of documents) {
      issuer.misbehave = (_path, response) => {
        json(response, document)
        return true
      }
      expect((await knock(await issuer.token({ roles: 'Pro' }))).status).toBe(503)
      clock.pass(5_000)
    }
    issuer.misbehave = () => false
    expect((await knock(await issuer.token({ roles: 'Pro' }))).status).toBe(200)
  })

  test('that is slow at the start is waited for 3 seconds, with one look; what comes later counts', async () => {
    const { knock } = door(policyOf([ci()]))
    const held: (() => void)[] = []
    issuer.misbehave = (_path, response) => {
      held.push(() => json(response, { keys: issuer.shown }))
      return true
    }
    const token = await issuer.token({ roles: 'Pro' })
    const answers = Promise.all([knock(token), knock(await issuer.token({ roles: 'Pro', sub: 'bob' }))])
    await until(() => held.length === 1)
    clock.pass(3_000)
    expect((await answers).map(({ status, headers }) => [status, headers['retry-after']])).toEqual([
      [503, '1'],
      [503, '1'],
    ])
    held[0]?.()
    await until(() => clock.pending() === 0)
    expect((await knock(token)).status).toBe(200)
    expect(issuer.asked.length).toBe(1)
  })

  test('that changed its key is asked at once, and its old key counts until it is taken back', async () => {
    const { knock } = door(policyOf([ci()]))
    const old = await issuer.token({ roles: 'Pro' })
    expect((await knock(old)).status).toBe(200)
    clock.pass(36_000)
    await issuer.rotate()
    const fresh = await issuer.token({ roles: 'Pro' })
    expect((await knock(fresh)).status).toBe(200)
    expect((await knock(old)).status).toBe(200)
    issuer.shown = issuer.shown.slice(1)
    clock.pass(10 * 60_000 + 1)
    const next = await issuer.token({ roles: 'Pro' })
    expect((await knock(next)).status).toBe(200)
    await until(() => issuer.asked.length === 3 && clock.pending() === 0)
    expect((await knock(next)).status).toBe(200)
  })

  test('that takes a key back is obeyed for tokens that were seen, within ten minutes', async () => {
    const { knock } = door(policyOf([ci()]))
    const at = START / 1_000
    const old = await issuer.token({ roles: 'Pro', exp: at + 86_400 })
    expect((await knock(old)).status).toBe(200)
    await issuer.rotate()
    issuer.shown = issuer.shown.slice(1)
    clock.pass(10 * 60_000 + 1)
    // Known, so it waits for nothing; and by it the keys are read anew.
    expect((await knock(old)).status).toBe(200)
    await until(() => issuer.asked.length === 2 && clock.pending() === 0)
    expect(await knock(old)).toMatchObject({ status: 401, message: 'The token is signed by no key of its issuer.' })
  })

  test('whose keys bear one name twice: each that fits is tried; a token without a name takes the only key', async () => {
    const { knock } = door(policyOf([ci()]))
    const nameless = await issuer.token({ roles: 'Pro' }, { kid: undefined })
    expect((await knock(nameless)).status).toBe(200)
    const one = await issuer.rotate('RS256', { kid: 'same' })
    const two = await issuer.rotate('RS256', { kid: 'same' })
    const three = await issuer.rotate('ES256', { kid: 'same' })
    clock.pass(36_000)
    for (const key of [one, two, three]) {
      expect((await knock(await issuer.token({ roles: 'Pro' }, {}, key))).status).toBe(200)
    }
    expect((await knock(await issuer.token({ roles: 'Pro' }, { kid: undefined }, one))).status).toBe(401)
  })

  test('of Entra shows keys of other tenants, which count for none of ours', async () => {
    const claims = {
      iss: `${issuer.origin}/${TENANT}/v2.0`,
      aud: APP,
      azp: 'a',
      tid: TENANT,
      oid: 'o',
      roles: ['Tollgate.Pro'],
    }
    const at = (tenant: string) => `https://login.microsoftonline.com/${tenant}/v2.0`
    const foreign = await issuer.rotate('RS256', { issuer: at(APP) } as never)
    const any = await issuer.rotate('RS256', { issuer: at('{tenantid}') } as never)
    const own = await issuer.rotate('RS256', { issuer: at(TENANT) } as never)
    const { knock } = door(policyOf([corp()]))
    const status = async (key: typeof own) => (await knock(await issuer.token(claims, {}, key))).status
    expect([await status(own), await status(any), await status(foreign)]).toEqual([200, 200, 401])
  })

  test('under 1,000 unknown key names a second is asked twice a minute at most, and a new key counts within 60 seconds', async () => {
    const { knock } = door(policyOf([ci()]))
    await knock(await issuer.token({ roles: 'Pro' }))
    const at = START / 1_000
    const body = part({ iss: issuer.origin, aud: 'tollgate', sub: 'eve', exp: at + 86_400, roles: ['Pro'] })
    const asked: number[] = [0]
    let rotated: { token: string; second: number } | undefined
    const accepted: number[] = []
    let count = 0
    for (let second = 1; second <= 240; second += 1) {
      clock.pass(1_000)
      const flood = Array.from({ length: 1_000 }, () => {
        count += 1
        return knock(`${part({ alg: 'RS256', kid: `made-up-${count}` })}.${body}.AAAA`, {
          from: `198.51.${count % 200}.1`,
        })
      })
      const statuses = new Set((await Promise.all(flood)).map(({ status }) => status))
      expect([...statuses]).toEqual([401])
      while (asked.length < issuer.asked.length) asked.push(second)
      if (second % 70 === 1) {
        await issuer.rotate()
        rotated = { token: await issuer.token({ roles: 'Pro', exp: at + 86_400 }), second }
      }
      if (rotated !== undefined && (await knock(rotated.token)).status === 200) {
        accepted.push(second - rotated.second)
        rotated = undefined
      }
    }
    expect(accepted.length).toBeGreaterThanOrEqual(3)
    expect(Math.max(...accepted)).toBeLessThanOrEqual(60)
    for (const from of asked)
      expect(asked.filter((each) => each >= from && each <= from + 60).length).toBeLessThanOrEqual(2)
  }, 120_000)

  test('that is down under such a flood is an outage for names that are not known, and for no others', async () => {
    const { knock } = door(policyOf([ci()]))
    const good = await issuer.token({ roles: 'Pro' })
    await knock(good)
    issuer.misbehave = (_path, response) => {
      response.destroy()
      return true
    }
    clock.pass(36_000)
    const body = part({ iss: issuer.origin, aud: 'tollgate', sub: 'eve', exp: START / 1_000 + 86_400 })
    const made = (name: string) => knock(`${part({ alg: 'RS256', kid: name })}.${body}.AAAA`)
    expect((await made('a')).status).toBe(503)
    expect(await made('b')).toMatchObject({ status: 503, headers: { 'retry-after': '35' } })
    expect((await knock(good)).status).toBe(200)
    expect((await knock(await issuer.token({ roles: 'Pro', sub: 'bob' }))).status).toBe(200)
    expect(issuer.asked.length).toBe(2)
  })
})

describe('a group', () => {
  const GROUPS = { 'cost-centre': { claim: 'extension_costCentre', limits: [] }, team: { claim: 'groups', limits: [] } }
  const REQUIRED = { 'cost-centre': { claim: 'extension_costCentre', required: true, limits: [] } }

  test.each<[string, Document, object | undefined]>([
    ['a text', { extension_costCentre: '4711' }, { 'cost-centre': '4711' }],
    ['a whole number', { extension_costCentre: 4711 }, { 'cost-centre': '4711' }],
    ['a list of one', { groups: ['g-1'] }, { team: 'g-1' }],
    ['both', { extension_costCentre: 'x', groups: ['g'] }, { 'cost-centre': 'x', team: 'g' }],
    ['none', {}, undefined],
    ['an empty list', { groups: [] }, undefined],
    ['null', { extension_costCentre: null }, undefined],
  ])('is told by its claim: %s', async (_what, claims, groups) => {
    const { knock, caller } = door(policyOf([ci()], GROUPS))
    expect((await knock(await issuer.token({ roles: 'Pro', ...claims }))).status).toBe(200)
    expect(caller()?.groups).toEqual(groups)
  })

  test.each<[string, Document]>([
    ['two values', { groups: ['a', 'b'] }],
    ['a map', { extension_costCentre: { a: 1 } }],
    ['an empty text', { extension_costCentre: '' }],
    ['a text too long', { extension_costCentre: 'x'.repeat(129) }],
    ['a control character', { extension_costCentre: 'a\nb' }],
    [
      'too many to be listed',
      { _claim_names: { groups: 'src1' }, _claim_sources: { src1: { endpoint: 'https://x' } } },
    ],
    ['too many, as some tokens say it', { hasgroups: true }],
  ])('that can’t be told is a 403, and never none: %s', async (_what, claims) => {
    const { knock } = door(policyOf([ci({ manage: true })], GROUPS))
    const token = await issuer.token({ roles: ['Pro', 'Tollgate.Read'], ...claims })
    expect(await knock(token)).toMatchObject({ status: 403, text: 'group_required' })
    // What is read belongs to no group.
    expect((await knock(token, { scope: 'read' })).status).toBe(200)
  })

  test('that is required is a 403 without it, for tokens and for keys', async () => {
    const { knock, send } = door(policyOf([ci()], REQUIRED))
    expect(await knock(await issuer.token({ roles: 'Pro' }))).toMatchObject({
      status: 403,
      text: 'group_required',
      message:
        "Each caller must be in the group 'cost-centre', and the token says of none: it has no claim 'extension_costCentre'.",
    })
    expect((await knock(await issuer.token({ roles: 'Pro', extension_costCentre: '1' }))).status).toBe(200)
    const { key } = await issueKey(store, {
      consumer: 'k',
      plan: 'free',
      defaultPlan: undefined,
      plans: ['free'],
      now: 0,
    })
    expect(await send({ 'api-key': key })).toMatchObject({
      status: 403,
      message: expect.stringContaining('--group cost-centre=<value>'),
    })
  })
})

describe('the word of App Service’s authentication', () => {
  const claim = (name: string, val: string) => ({ typ: name, val })
  const principal = (change: readonly { typ: string; val: string }[] = [], of: object = {}) =>
    Buffer.from(
      JSON.stringify({
        auth_typ: 'aad',
        name_typ: 'name',
        role_typ: 'roles',
        claims: [
          claim('iss', `https://sts.windows.net/${TENANT}/`),
          claim('aud', APP),
          claim('http://schemas.microsoft.com/identity/claims/tenantid', TENANT),
          claim('http://schemas.microsoft.com/identity/claims/objectidentifier', 'o-1'),
          ...change,
        ],
        ...of,
      }),
    ).toString('base64')
  const pro = () => principal([claim('roles', 'Other'), claim('roles', 'Tollgate.Pro')])

  test('counts where the operator says so, as the caller that the token would be', async () => {
    const { send, caller } = door(policyOf([corp()]), { easyAuth: true })
    expect((await send({ 'x-ms-client-principal': pro() })).text).toBe(`call ~corp~${TENANT}~o-1 pro`)
    const first = caller()
    await send({ 'x-ms-client-principal': pro() })
    expect(caller()).toBe(first)
    const token = await issuer.token({
      iss: `${issuer.origin}/${TENANT}/v2.0`,
      aud: APP,
      azp: 'a',
      tid: TENANT,
      oid: 'o-1',
      roles: ['Tollgate.Pro'],
    })
    expect((await send({ 'x-ms-client-principal': pro(), authorization: `Bearer ${token}` })).status).toBe(200)
    expect((await send({})).status).toBe(401)
  })

  test('is not taken from a page of another site, which sends the session of who looks at it', async () => {
    const { send } = door(policyOf([corp()]), { easyAuth: true })
    const from = (site: string, others: Record<string, string> = {}) =>
      send({ 'x-ms-client-principal': pro(), 'sec-fetch-site': site, ...others })
    for (const site of ['cross-site', 'same-site', 'something new']) {
      expect(await from(site)).toMatchObject({ status: 401, message: expect.stringContaining('another site') })
    }
    for (const site of ['same-origin', 'none']) expect((await from(site)).status).toBe(200)
    // What such a page knows by itself, it may send.
    const claims = { iss: `${issuer.origin}/${TENANT}/v2.0`, aud: APP, azp: 'a', tid: TENANT, oid: 'o-1' }
    const token = await issuer.token({ ...claims, roles: ['Tollgate.Pro'] })
    expect((await from('cross-site', { authorization: `Bearer ${token}` })).status).toBe(200)
    const { key } = await issueKey(store, {
      consumer: 'k',
      plan: 'free',
      defaultPlan: undefined,
      plans: ['free'],
      now: 0,
    })
    expect((await send({ 'sec-fetch-site': 'cross-site', 'api-key': key })).status).toBe(200)
  })

  test('counts nowhere else', async () => {
    const { send } = door(policyOf([corp()]))
    expect((await send({ 'x-ms-client-principal': pro() })).status).toBe(401)
    const nobody = door(policyOf([]), { easyAuth: true })
    expect((await nobody.send({ 'x-ms-client-principal': pro() })).status).toBe(401)
  })

  test.each<[string, string, number]>([
    ['of several audiences, of which one is ours', principal([claim('aud', 'x'), claim('roles', 'Tollgate.Pro')]), 200],
    [
      'of another audience',
      principal([], { claims: [claim('iss', `https://sts.windows.net/${TENANT}/`), claim('aud', 'x')] }),
      401,
    ],
    ['without a role', principal(), 403],
    ['of another tenant', principal([claim('tid', APP), claim('roles', 'Tollgate.Pro')]), 401],
    ['of two issuers', principal([claim('iss', 'https://evil.example'), claim('roles', 'Tollgate.Pro')]), 401],
    ['that is no JSON', '%%%', 401],
    ['that is huge', principal([claim('x', 'y'.repeat(20_000))]), 401],
    ['with odd claims', principal([], { claims: [null] }), 401],
  ])('is held to the same rules: %s', async (_what, header, status) => {
    const { send } = door(policyOf([corp()]), { easyAuth: true })
    expect((await send({ 'x-ms-client-principal': header })).status).toBe(status)
  })

  test('beside a key is a 401: it is never the key’s consumer', async () => {
    const { send } = door(policyOf([corp()]), { easyAuth: true })
    const { key } = await issueKey(store, {
      consumer: 'k',
      plan: 'free',
      defaultPlan: undefined,
      plans: ['free'],
      now: 0,
    })
    expect((await send({ 'x-ms-client-principal': pro(), 'api-key': key })).status).toBe(401)
    expect((await send({ 'api-key': key })).status).toBe(200)
  })
})
