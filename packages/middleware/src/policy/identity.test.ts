import { describe, expect, test } from 'vitest'
import { PolicyError, type ResolveOptions, resolvePolicy } from './index.ts'

const options = (hosts: readonly string[] = []): ResolveOptions => ({
  source: 'test.yaml',
  bounds: { env: {}, readable: [], hosts },
  defaultTarget: undefined,
})
const PLANS = { pro: { limits: [] }, free: { limits: [] } }
const TENANT = '11111111-2222-3333-4444-555555555555'
const APP = 'aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee'
const corp = { name: 'corp', entra: { tenant: TENANT, audience: `api://${APP}` }, roles: { 'Tollgate.Pro': 'pro' } }
const ci = { name: 'ci', oidc: { issuer: 'https://ci.example', audience: 'tollgate' }, roles: { 'a/b': 'free' } }

const resolve = (document: object, hosts?: readonly string[]) =>
  resolvePolicy({ plans: PLANS, ...document }, options(hosts))
const identityOf = (...issuers: object[]) => resolve({ identity: { issuers } }).identity
const faultsOf = (document: object, hosts?: readonly string[]): readonly string[] => {
  try {
    resolve(document, hosts)
  } catch (error) {
    if (!(error instanceof PolicyError)) throw error
    return error.message.split('\n  - ').slice(1)
  }
  return []
}

describe('issuers', () => {
  test('of Entra are known by both versions of tokens, and by the app’s id and address', () => {
    expect(identityOf(corp)?.issuers).toEqual([
      {
        name: 'corp',
        kind: 'entra',
        issuers: [`https://login.microsoftonline.com/${TENANT}/v2.0`, `https://sts.windows.net/${TENANT}/`],
        audiences: [`api://${APP}`, APP],
        tenant: TENANT,
        keys: { jwks: `https://login.microsoftonline.com/${TENANT}/discovery/v2.0/keys` },
        rolesClaim: 'roles',
        roles: [{ role: 'Tollgate.Pro', plan: 'pro' }],
        manages: true,
      },
    ])
  })

  test.each([
    ['https://login.microsoftonline.us/', 'https://login.microsoftonline.us', 'https://sts.windows.net'],
    [
      'https://login.partner.microsoftonline.cn',
      'https://login.partner.microsoftonline.cn',
      'https://sts.chinacloudapi.cn',
    ],
  ])('of Entra in another cloud: %s', (authority, v2, v1) => {
    const [issuer] = identityOf({ ...corp, entra: { ...corp.entra, authority } })?.issuers ?? []
    expect(issuer?.issuers).toEqual([`${v2}/${TENANT}/v2.0`, `${v1}/${TENANT}/`])
    expect(issuer?.keys).toEqual({ jwks: `${v2}/${TENANT}/discovery/v2.0/keys` })
  })

  test('of any other kind have their keys where they say, or where the policy does', () => {
    const oidc = { issuer: 'https://ci.example/', audience: ['a', 'b', 'a'] }
    const [said, given] =
      identityOf({ ...ci, oidc }, { ...ci, name: 'x', oidc: { ...oidc, audience: 'c', jwks: 'https://k.example/' } })
        ?.issuers ?? []
    expect(said).toMatchObject({
      kind: 'oidc',
      issuers: ['https://ci.example/'],
      audiences: ['a', 'b'],
      keys: { discovery: 'https://ci.example/.well-known/openid-configuration' },
      manages: false,
    })
    expect(given?.keys).toEqual({ jwks: 'https://k.example/' })
  })

  test('that two policies describe alike are one object, and a part of the revision', () => {
    const [one, two] = [
      resolve({ identity: { issuers: [corp, ci] } }),
      resolve({ identity: { issuers: [corp, ci] }, usage: { detail: '2d' } }),
    ]
    expect(one.identity).toBe(two.identity)
    expect(one.revision).toBe(two.revision)
    const revisions = [{}, { identity: { issuers: [corp] } }, { identity: { issuers: [{ ...corp, name: 'c' }] } }].map(
      (document) => resolve(document).revision,
    )
    expect(new Set([...revisions, one.revision]).size).toBe(4)
  })

  test.each<[string, object, RegExp]>([
    [
      'a plan that is misspelt',
      { ...corp, roles: { 'Tollgate.Pro': 'por' } },
      /^identity\.issuers\[0\]\.roles\.Tollgate\.Pro: there is no plan 'por' under plans\. Did you mean 'pro'\? There are: pro and free\.$/,
    ],
    [
      'a role for managing as a plan’s',
      { ...corp, roles: { 'Tollgate.Admin': 'pro' } },
      /Tollgate\.Admin: the role gives the scope to manage/,
    ],
    [
      'a tenant by its name',
      { ...corp, entra: { ...corp.entra, tenant: 'contoso.com' } },
      /tenant: must be the tenant's id/,
    ],
    ['an issuer that is no URL', { ...ci, oidc: { ...ci.oidc, issuer: 'ci.example' } }, /oidc\.issuer: is not a URL/],
    ['an issuer without https', { ...ci, oidc: { ...ci.oidc, issuer: 'http://ci.example' } }, /needs https/],
    [
      'a password',
      { ...ci, oidc: { ...ci.oidc, jwks: 'https://a:b@ci.example' } },
      /oidc\.jwks: holds a user name or password/,
    ],
    ['a private address', { ...ci, oidc: { ...ci.oidc, jwks: 'https://10.0.0.1/' } }, /TOLLGATE_TARGET_HOSTS/],
    ['a metadata service', { ...ci, oidc: { ...ci.oidc, issuer: 'https://169.254.169.254' } }, /TOLLGATE_TARGET_HOSTS/],
    ['this machine', { ...corp, entra: { ...corp.entra, authority: 'http://127.0.0.1:1' } }, /TOLLGATE_TARGET_HOSTS/],
    [
      'a misspelt field',
      { ...corp, entra: { ...corp.entra, audiance: 'x' } },
      /audiance: unknown field\. Did you mean 'audience'\?/,
    ],
    ['two kinds', { ...corp, oidc: ci.oidc }, /entra and oidc/],
    ['no kind', { name: 'x' }, /needs one of/],
    ['an empty audience', { ...ci, oidc: { ...ci.oidc, audience: [] } }, /audience/],
  ])('are refused with the place and the fix: %s', (_what, issuer, fault) => {
    const faults = faultsOf({ identity: { issuers: [issuer] } })
    expect(faults).toHaveLength(1)
    expect(faults[0]).toMatch(fault)
  })

  test('may be on this machine or a private address where the operator lists the host', () => {
    const issuers = [{ ...ci, oidc: { ...ci.oidc, jwks: 'http://127.0.0.1:1/' } }]
    expect(faultsOf({ identity: { issuers } }, ['127.0.0.1'])).toEqual([])
  })

  test('of one name, or that can’t be told apart, are refused', () => {
    expect(faultsOf({ identity: { issuers: [corp, { ...ci, name: 'corp' }] } })).toEqual([
      "identity.issuers[1].name: issuers[0] is called 'corp' too. Rename one.",
    ])
    expect(faultsOf({ identity: { issuers: [corp, { ...corp, name: 'x' }] } })).toEqual([
      "identity.issuers[1]: a token of 'x' can't be told from one of 'corp': they have an issuer and an audience in common. Give each its own audience, or make one of both.",
    ])
    const other = { ...corp, name: 'x', entra: { ...corp.entra, audience: 'api://other' } }
    expect(faultsOf({ identity: { issuers: [corp, other] } })).toEqual([])
  })
})

describe('groups', () => {
  const group = {
    claim: 'team',
    limits: [
      { usd: 5, per: 'month' },
      { requests: 10, per: '1m' },
    ],
  }
  const priced = { models: { default: { price: { input: 1, output: 2 } } } }

  test('have limits that are named after them', () => {
    const { groups } = resolve({ ...priced, groups: { 'cost-centre': group, team: { limits: [] } } })
    expect(
      groups?.map(({ name, claim, required, limits }) => [name, claim, required, limits.map((each) => each.name)]),
    ).toEqual([
      ['cost-centre', 'team', false, ['group-cost-centre-usd', 'group-cost-centre-requests']],
      ['team', undefined, false, []],
    ])
    expect(resolve({ ...priced, groups: { 'cost-centre': group, team: { limits: [] } } }).groups).toBe(groups)
    expect(resolve({ groups: {} }).groups).toBeUndefined()
  })

  test.each<[string, object, RegExp]>([
    [
      'four',
      Object.fromEntries(['a', 'b', 'c', 'd'].map((name) => [name, { limits: [] }])),
      /^groups: a request may be in 3 groups, and there are 4: a, b, c and d\. Remove some\.$/,
    ],
    [
      'a limit on a model that is not there',
      { a: { limits: [{ requests: 1, per: '1m', model: 'x' }] } },
      /^groups\.a\.limits\[0\]\.model: there is no model 'x'/,
    ],
    [
      'limits of one name',
      { a: { limits: [{ tokens: 1, per: '1m', count: 'input' }] }, 'a-input': { limits: [{ tokens: 1, per: '1m' }] } },
      /^groups\.a-input: its limit 'group-a-input-tokens' would be called as one of groups\.a\. Rename/,
    ],
    ['a misspelt field', { a: { limits: [], requird: true } }, /Did you mean 'required'\?/],
  ])('are refused with the place and the fix: %s', (_what, groups, fault) => {
    const faults = faultsOf({ groups })
    expect(faults).toHaveLength(1)
    expect(faults[0]).toMatch(fault)
  })
})
