import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import OpenAI from 'openai'
import { afterAll, beforeAll, beforeEach, describe, expect, inject, test } from 'vitest'
import { newKey, unique } from '../support/consumers.ts'
import { BARE_HOST, generate, type RunningHost, startHost } from '../support/host.ts'
import { type LocalIssuer, newSigningKey, startIssuer } from '../support/issuer.ts'
import { openAccount } from '../support/tables.ts'
import { answering, startUpstream, type Upstream } from '../support/upstream.ts'

/*
 * Callers by tokens that a real issuer signs, at two hosts that serve the bundle, over real tables and a real HTTP upstream. One of
 * them stands behind App Service's authentication, as far as its settings say.
 */

const TENANT = '11111111-2222-3333-4444-555555555555'
const APP = 'aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee'

const open = openAccount(inject('azurite'))
let upstream: Upstream
let issuer: LocalIssuer
let folder: string
let hosts: [RunningHost, RunningHost]
beforeAll(async () => {
  upstream = await startUpstream()
  issuer = await startIssuer()
  folder = mkdtempSync(join(tmpdir(), 'tollgate-identity-'))
  const policy = {
    plans: { pro: { limits: [] }, free: { limits: [{ requests: 2, per: 'month' }] }, spender: { limits: [] } },
    models: { default: { retry: false, price: { input: 1, output: 2 } } },
    routes: { chat: { cache: false }, generate: { cache: false } },
    identity: {
      issuers: [
        {
          name: 'corp',
          entra: { tenant: TENANT, audience: `api://${APP}`, authority: issuer.origin },
          roles: { 'Tollgate.Pro': 'pro', 'Tollgate.Free': 'free' },
        },
        { name: 'ci', oidc: { issuer: issuer.origin, audience: 'tollgate' }, roles: { Pro: 'pro', Free: 'free' } },
      ],
    },
    groups: {
      'cost-centre': { claim: 'extension_costCentre', limits: [{ requests: 7, per: 'month' }] },
      money: { claim: 'budget', limits: [{ usd: 0.003, per: 'month' }] },
    },
  }
  const path = join(folder, 'policy.yaml')
  writeFileSync(path, JSON.stringify(policy))
  const settings = {
    TOLLGATE_STORAGE: inject('azurite'),
    TOLLGATE_POLICY: path,
    TOLLGATE_TARGET_HOSTS: '127.0.0.1',
    OPENAI_BASE_URL: upstream.baseUrl,
    OPENAI_API_KEY: 'sk-upstream-secret',
    OPENAI_MODEL_NAME: 'test-model',
  }
  const trusting = { TOLLGATE_TRUST_EASY_AUTH: 'true' }
  hosts = await Promise.all([
    startHost({ ...settings, ...trusting, WEBSITE_AUTH_ENABLED: 'True' }, BARE_HOST),
    startHost({ ...settings, ...trusting }, BARE_HOST),
  ])
})
afterAll(async () => {
  await Promise.all((hosts ?? []).map((host) => host.stop()))
  await upstream?.close()
  await issuer?.close()
  rmSync(folder, { recursive: true, force: true })
})
beforeEach(() => {
  upstream.calls.length = 0
  upstream.reply = answering()
  issuer.misbehave = () => false
})

const bearer = (token: string) => ({ authorization: `Bearer ${token}` })
const entra = (claims: Record<string, unknown>) =>
  issuer.token({ iss: `${issuer.origin}/${TENANT}/v2.0`, aud: APP, azp: 'app', tid: TENANT, ...claims })
const ask = (index: number, token: string, prompt = unique('prompt')) =>
  generate(hosts[index % 2] ?? hosts[0], JSON.stringify({ prompt }), bearer(token))

describe('a caller by a token', () => {
  test('is served through OpenAI’s client, which sends a token as it sends a key, and nothing of it reaches the model', async () => {
    const token = await entra({ oid: unique('oid'), roles: ['Tollgate.Pro'] })
    const client = new OpenAI({ baseURL: `${hosts[0].url}/api/v1`, apiKey: token, maxRetries: 0 })
    const answer = await client.chat.completions.create({
      model: 'default',
      messages: [{ role: 'user', content: 'Hi' }],
    })
    expect(answer.choices[0]?.message.content).toContain('Hi')
    expect(upstream.calls).toHaveLength(1)
    const sent = JSON.stringify(upstream.calls[0])
    expect(sent).not.toContain(token)
    expect(sent).not.toContain(token.split('.')[2])
    expect(hosts[0].output()).not.toContain(token.split('.')[1])
  })

  test('has its limits over all instances, and over all of its tokens', async () => {
    const sub = unique('limited')
    const statuses: number[] = []
    for (let i = 0; i < 5; i += 1)
      statuses.push((await ask(i, await issuer.token({ sub, roles: ['Free'], jti: `${i}` }))).status)
    expect(statuses).toEqual([200, 200, 429, 429, 429])
  })

  test('whose id is odd is counted, and told in the ledger, by an id that stays one piece', async () => {
    const sub = `~corp~${unique("a/b\\c#?%25'é ")}`
    const token = await issuer.token({ sub, roles: ['Free'] })
    const statuses: number[] = []
    for (let i = 0; i < 4; i += 1) statuses.push((await ask(i, token)).status)
    expect(statuses).toEqual([200, 200, 429, 429])
    const reader = await newKey(open, unique('reader'), 'pro', ['read'])
    const id = `~ci~${encodeURIComponent(sub).replace(/[!'()*~]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`)}`
    const deadline = Date.now() + 30_000
    for (;;) {
      const answer = await fetch(`${hosts[0].url}/api/usage?by=consumer&since=1h&consumer=${encodeURIComponent(id)}`, {
        headers: { 'x-api-key': reader },
      })
      expect(answer.status).toBe(200)
      const { rows } = (await answer.json()) as { rows: { name: string; requests: number }[] }
      if (rows[0]?.requests === 4 || Date.now() > deadline) {
        expect(rows).toEqual([expect.objectContaining({ name: id, requests: 4, refused: 2 })])
        return
      }
      await new Promise((resolve) => setTimeout(resolve, 1_100))
    }
  }, 60_000)

  test('may see usage by the role for it, and no model by that alone', async () => {
    const token = await entra({ oid: unique('oid'), roles: ['Tollgate.Read'] })
    const usage = (headers: Record<string, string>) => fetch(`${hosts[0].url}/api/usage`, { headers })
    expect((await usage(bearer(token))).status).toBe(200)
    expect((await usage(bearer(await entra({ oid: unique('oid'), roles: ['Tollgate.Pro'] })))).status).toBe(403)
    expect((await usage(bearer(await issuer.token({ roles: ['Tollgate.Read', 'Tollgate.Admin'] })))).status).toBe(403)
    const refused = await ask(0, token)
    expect(refused).toMatchObject({ status: 403, body: { code: 'insufficient_scope' } })
    expect(refused.body.error).toContain('Tollgate.Pro or Tollgate.Free')
  })

  test('is refused in its client’s own shape, told who signs callers in', async () => {
    const stranger = await newSigningKey('RS256', { kid: 'stranger' })
    const token = await issuer.token({ roles: ['Pro'] }, { kid: (issuer.shown[0] as { kid: string }).kid }, stranger)
    const answer = await fetch(`${hosts[0].url}/api/v1/models`, { headers: bearer(token) })
    expect(answer.status).toBe(401)
    expect(await answer.json()).toMatchObject({
      error: { code: 'invalid_token', message: "The token's signature is wrong." },
    })
    const metadata = /resource_metadata="([^"]+)"/.exec(answer.headers.get('www-authenticate') ?? '')?.[1] ?? ''
    expect(metadata).toBe(`${hosts[0].url}/api/.well-known/oauth-protected-resource`)
    const document = await fetch(metadata)
    expect(document.status).toBe(200)
    expect(await document.json()).toEqual({
      resource: `${hosts[0].url}/api`,
      resource_name: 'Tollgate',
      authorization_servers: [`${issuer.origin}/${TENANT}/v2.0`, issuer.origin],
      bearer_methods_supported: ['header'],
      scopes_supported: [`api://${APP}/.default`],
    })
    expect((await fetch(metadata, { method: 'POST' })).status).toBe(405)
    const without = await fetch(`${hosts[0].url}/api/v1/models`)
    expect(without.headers.get('www-authenticate')).toBe(`Bearer realm="tollgate", resource_metadata="${metadata}"`)
  })

  test('stays in while its issuer is down, on an instance that knows the keys', async () => {
    const token = await issuer.token({ sub: unique('known'), roles: ['Pro'] })
    expect((await ask(0, token)).status).toBe(200)
    issuer.misbehave = (_path, response) => {
      response.destroy()
      return true
    }
    expect((await ask(0, await issuer.token({ sub: unique('known'), roles: ['Pro'] }))).status).toBe(200)
  })

  test('costs a request that is refused no call of a model, whatever it sends', async () => {
    for (const token of [
      'eyJ.eyJ.',
      'eyJhbGciOiJub25lIn0.e30.',
      'eyJ.a',
      `eyJ${'A'.repeat(9_000)}.${'A'.repeat(9_000)}.AA`,
    ]) {
      expect((await ask(0, token)).status).toBe(401)
    }
    expect(upstream.calls).toEqual([])
  })
})

describe('a group', () => {
  test('shares its limits among all of its callers, exactly, over two hosts', async () => {
    const centre = unique('4711/ü~%')
    const callers = await Promise.all(
      Array.from({ length: 20 }, (_, i) =>
        issuer.token({ sub: unique(`c${i}`), roles: ['Pro'], extension_costCentre: centre }),
      ),
    )
    const answers = await Promise.all(callers.map((token, i) => ask(i, token)))
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(7)
    const refused = answers.filter(({ status }) => status === 429)
    expect(refused).toHaveLength(13)
    expect(refused[0]?.headers.get('ratelimit-policy')).toContain('"group-cost-centre-requests"')
    // Of another value, and without one, there is room.
    const [other, none] = [
      await issuer.token({ sub: unique('o'), roles: ['Pro'], extension_costCentre: `${centre}x` }),
      await issuer.token({ sub: unique('o'), roles: ['Pro'] }),
    ]
    expect([(await ask(0, other)).status, (await ask(1, none)).status]).toEqual([200, 200])
  })

  test('spends its budget together, and not a nano-dollar more', async () => {
    const budget = unique('budget')
    const member = () => issuer.token({ sub: unique('m'), roles: ['Pro'], budget })
    const callers = await Promise.all([member(), member(), member()])
    let nanoUsd = 0
    let refusals = 0
    for (let i = 0; i < 600 && refusals < 12; i += 1) {
      const { status, headers } = await ask(i, callers[i % 3] ?? '')
      refusals = status === 429 ? refusals + 1 : 0
      nanoUsd += Math.round(Number(headers.get('x-tollgate-cost') ?? 0) * 1e9)
    }
    expect(refusals).toBe(12)
    expect(nanoUsd).toBeGreaterThan(1_000_000)
    expect(nanoUsd).toBeLessThanOrEqual(3_000_000)
  }, 60_000)
})

describe('X-MS-CLIENT-PRINCIPAL', () => {
  const principal = (oid: string) =>
    Buffer.from(
      JSON.stringify({
        auth_typ: 'aad',
        claims: Object.entries({
          iss: `https://sts.windows.net/${TENANT}/`,
          aud: APP,
          tid: TENANT,
          oid,
          roles: 'Tollgate.Pro',
        }).map(([typ, val]) => ({ typ, val })),
      }),
    ).toString('base64')

  test('is believed where the setting says so and the platform’s authentication is on, and reaches no model', async () => {
    const headers = {
      'x-ms-client-principal': principal(unique('oid')),
      'x-ms-client-principal-name': 'someone@example.com',
      'x-ms-token-aad-access-token': 'a-token-of-the-platform',
    }
    const body = JSON.stringify({ prompt: unique('p') })
    expect((await generate(hosts[0], body, headers)).status).toBe(200)
    expect((await generate(hosts[1], body, headers)).status).toBe(401)
    expect(upstream.calls).toHaveLength(1)
    expect(Object.keys(upstream.calls[0]?.headers ?? {}).filter((name) => name.startsWith('x-ms-'))).toEqual([])
    expect(hosts[0].output()).not.toContain('a-token-of-the-platform')
    expect(hosts[1].output()).toContain('WEBSITE_AUTH_ENABLED is not true')
  })
})
