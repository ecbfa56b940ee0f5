import { describe, expect, test } from 'vitest'
import { policyChanges } from './index.ts'

const changed = (before: string | undefined, after: string) =>
  policyChanges(before === undefined ? undefined : { text: before, source: 'a' }, { text: after, source: 'b' }).map(
    ({ path, before, after, line }) => [path, before, after, line],
  )
const effects = (before: string, after: string) =>
  policyChanges({ text: before, source: 'a' }, { text: after, source: 'b' }).map(({ path, effect }) => [path, effect])
const limits = (...each: string[]) => `plans: {p: {limits: [${each.join(', ')}]}}`

describe('what differs between two policies', () => {
  test.each([
    ['order', 'plans: {a: {limits: []}, b: {limits: []}}', 'plans: {b: {limits: []}, a: {limits: []}}'],
    ['spelling', 'plans: {a: {limits: []}}', '{"plans":{"a":{"limits":[]}}} # the same'],
    [
      'the order of limits',
      limits('{concurrent: 1}', '{usd: 1, per: day}'),
      limits('{usd: 1, per: day}', '{concurrent: 1}'),
    ],
  ])('is not %s', (_what, before, after) => {
    expect(changed(before, after)).toEqual([])
  })

  test('is told by fields, with the line in the later text, or where something is gone in the earlier', () => {
    const before = 'plans:\n  a:\n    limits: []\nroutes: {generate: {cache: false}}\nstoreDown: open\n'
    const after = 'plans:\n  a:\n    limits: []\n  b: {limits: []}\nroutes:\n  generate:\n    cache: true\n'
    expect(changed(before, after)).toEqual([
      ['plans.b', undefined, '{"limits":[]}', 4],
      ['routes.generate.cache', 'false', 'true', 7],
      ['storeDown', '"open"', undefined, 5],
    ])
  })

  test('is all of it where there was none', () => {
    expect(changed(undefined, limits('{concurrent: 1}'))).toEqual([
      ['plans.p', undefined, '{"limits":[{"concurrent":1}]}', 1],
    ])
  })

  test('is cut where it is long', () => {
    const [[, , after] = []] = changed('{}', `usage: {detail: ${'x'.repeat(1_000)}}`)
    expect(String(after).length).toBeLessThan(200)
  })

  test('is refused for what is no document', () => {
    expect(() => changed(undefined, '{')).toThrow('b was refused')
  })
})

describe('what a change does', () => {
  test.each([
    [
      'a quota',
      '{tokens: 9, per: day}',
      '{tokens: 8, per: day}',
      '(tokens per day)',
      'What was used in this window stays used.',
    ],
    [
      'a budget',
      '{usd: 9, per: month}',
      '{usd: 8, per: month}',
      '(usd per month)',
      'What was used in this window stays used.',
    ],
    [
      'a bucket',
      '{requests: 9, per: 60s}',
      '{requests: 9, per: 1m, burst: 2}',
      '(requests per 1m)',
      'What is left stays left, up to the new size.',
    ],
    ['slots', '{concurrent: 9}', '{concurrent: 8}', '(concurrent)', 'Requests in flight keep their places.'],
  ])('to %s', (_what, before, after, name, effect) => {
    expect(effects(limits(before), limits(after))).toEqual([[`plans.p.limits ${name}`, effect]])
  })

  test('to a limit over another period', () => {
    expect(effects(limits('{requests: 9, per: 1m}'), limits('{requests: 9, per: 1h}'))).toEqual([
      ['plans.p.limits (requests per 1h)', 'Begins with what was left of the others on the same.'],
      ['plans.p.limits (requests per 1m)', 'Holds no more.'],
    ])
  })

  test('to those of one model, of input, of a plan together, of everybody, and of a group', () => {
    const of = (n: number) => `
plans: {p: {limits: [{tokens: ${n}, per: day, count: input, model: m}], shared: {limits: [{usd: ${n}, per: day}]}}}
global: {limits: [{requests: ${n}, per: 1s}]}
groups: {team: {limits: [{usd: ${n}, per: day}]}}`
    expect(effects(of(1), of(2)).map(([path]) => path)).toEqual([
      'plans.p.limits (input tokens per day of m)',
      'plans.p.shared.limits (usd per day)',
      'global.limits (requests per 1s)',
      'groups.team.limits (usd per day)',
    ])
  })

  test('to a plan that is gone, and a model', () => {
    const found = effects(
      'plans: {p: {limits: []}, q: {limits: []}}\nmodels: {m: {alias: default}}',
      'plans: {q: {limits: []}}',
    )
    expect(found).toEqual([
      ['plans.p', expect.stringContaining("Consumers on plan 'p' are refused (403) until they are moved.")],
      ['models.m', "Requests for 'm' are refused."],
    ])
  })

  test('to an issuer whose name changes: its callers are new consumers', () => {
    const issuer = (name: string) =>
      `identity: {issuers: [{name: ${name}, oidc: {issuer: https://id.example, audience: a}}]}`
    expect(effects(issuer('old'), issuer('new'))).toEqual([
      ['identity.issuers.new', expect.stringContaining('Its callers are consumers ~new~…, which are new')],
      ['identity.issuers.old', "Tokens of issuer 'old' are refused."],
    ])
    expect(effects(issuer('old'), '{}')).toEqual([[expect.stringContaining('identity'), 'All tokens are refused.']])
  })

  test('to a group that comes or goes', () => {
    const group = 'models: {default: {price: {input: 1, output: 2}}}\ngroups: {team: {limits: [{usd: 1, per: day}]}}'
    const none = 'models: {default: {price: {input: 1, output: 2}}}'
    expect(effects(group, none)).toEqual([[expect.stringContaining('groups'), 'Its limits hold no more.']])
    expect(effects(none, group)).toEqual([[expect.stringContaining('groups'), 'Counts from now on.']])
  })
})
