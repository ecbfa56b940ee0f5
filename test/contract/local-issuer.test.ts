import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { outlinePolicyText } from '@tollgate/middleware'
import { createRemoteJWKSet, jwtVerify } from 'jose'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { startIssuer } from '../../examples/local-issuer/issuer.ts'
import { ROOT } from '../support/host.ts'

/* The issuer for trying: its tokens are what its policy takes. */

let issuer: Awaited<ReturnType<typeof startIssuer>>
beforeAll(async () => {
  issuer = await startIssuer(0)
})
afterAll(() => issuer?.close())

const text = readFileSync(join(ROOT, 'examples/local-issuer/tollgate.policy.yaml'), 'utf8')

test('a token has what was asked for, signed by the key that the issuer’s documents show', async () => {
  const document = (await (await fetch(`${issuer.url}/.well-known/openid-configuration`)).json()) as {
    jwks_uri: string
  }
  const token = await (await fetch(`${issuer.url}/token?sub=alice&roles=Pro&costCentre=4711`)).text()
  const { payload } = await jwtVerify(token, createRemoteJWKSet(new URL(document.jwks_uri)), {
    issuer: issuer.url,
    audience: 'tollgate',
  })
  expect(payload).toMatchObject({ sub: 'alice', roles: 'Pro', costCentre: '4711', exp: (payload.iat ?? 0) + 3_600 })
})

test('its policy can be used, and names the address that it has by default', () => {
  const { plans, groups } = outlinePolicyText({ text, source: 'tollgate.policy.yaml' })
  expect([...plans.keys()]).toEqual(['default', 'pro'])
  expect(groups?.map(({ claim }) => claim)).toEqual(['costCentre'])
  expect(text).toContain('issuer: http://127.0.0.1:7081,')
})
