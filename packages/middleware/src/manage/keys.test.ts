import { hash } from 'node:crypto'
import { beforeEach, describe, expect, test } from 'vitest'
import { type ConsumerStore, generateKey, memoryConsumerStore, parseKey } from '../auth/index.ts'
import { memoryCounterStore } from '../limits/index.ts'
import { resolvePolicy } from '../policy/index.ts'
import { memoryTable } from '../storage/index.ts'
import {
  beginLimitsAnew,
  createKey,
  disableKey,
  enableKey,
  expireKey,
  findKeys,
  listKeys,
  type ManageAction,
  type Managed,
  type ManageInput,
  perform,
  revokeKey,
  rotateKey,
  showKey,
} from './index.ts'

const NOW = Date.UTC(2026, 10, 28, 12)
const DAY_MS = 86_400_000

const at = (zone?: string) => ({
  openai: { baseUrl: 'https://m.example/v1', model: `m-${zone}` },
  ...(zone && { zone }),
})
const policyOf = (groups?: object) =>
  resolvePolicy(
    {
      ...(groups && { groups }),
      models: {
        chat: { targets: [at('eu'), at('us')] },
        lambda: { targets: [at()] },
        fast: { alias: 'chat' },
        ab: { split: { chat: 1, lambda: 1 } },
      },
      plans: { free: { limits: [] }, pro: { limits: [] } },
    },
    { source: 'a test', bounds: { env: {}, readable: [], hosts: ['m.example'] }, defaultTarget: undefined },
  )
const POLICY = policyOf({ 'cost-centre': { limits: [] }, team: { limits: [] } })

let store: ConsumerStore
let managed: Managed
let audit: ReturnType<typeof memoryTable>
beforeEach(() => {
  store = memoryConsumerStore()
  audit = memoryTable({ wallClock: () => NOW })
  managed = {
    consumers: store,
    audit,
    policy: POLICY,
    actor: 'a test',
    wallClock: () => NOW,
    signal: new AbortController().signal,
    log: () => {},
  } as Partial<Managed> as Managed
})

const act = <Action extends ManageAction>(action: Action, input: ManageInput<Action>) => perform(action, input, managed)
const create = (input: Partial<ManageInput<typeof createKey>> = {}) =>
  act(createKey, { consumer: 'alice', plan: 'free', ...input })

describe('a key is made', () => {
  test('with all that it narrows, and shown with that, and never itself', async () => {
    const bound = {
      models: ['fast', 'ab', 'lambda'],
      zones: ['eu'],
      routes: ['chat'],
      budget: { usd: 20, per: 'month' as const },
      groups: { 'cost-centre': '4711' },
    }
    const made = await create({ ...bound, scopes: ['call', 'read', 'call'], expiresAt: '2027-01-31T00:00:00Z' })
    expect(made).toMatchObject({
      consumer: 'alice',
      plan: 'free',
      scopes: ['call', 'read'],
      expiresAt: '2027-01-31T00:00:00.000Z',
    })
    expect(parseKey(made.key)?.publicId).toBe(made.id)
    const shown = await act(showKey, { key: made.id })
    expect(shown).toEqual({
      id: made.id,
      consumer: 'alice',
      scopes: ['call', 'read'],
      state: 'active',
      createdAt: new Date(NOW).toISOString(),
      expiresAt: '2027-01-31T00:00:00.000Z',
      lastUsedAt: null,
      ...bound,
      replacedBy: null,
      family: made.id,
    })
    expect(await act(listKeys, { consumer: 'alice' })).toEqual({ keys: [shown] })
  })

  test('with nothing narrowed where nothing is named', async () => {
    const { id } = await create()
    expect(await store.findKey(id)).not.toHaveProperty('grant')
    expect(await act(showKey, { key: id })).toMatchObject({
      models: null,
      zones: null,
      routes: null,
      budget: null,
      groups: {},
    })
  })

  test.each<[object, string, RegExp]>([
    [{ models: ['chta'] }, 'models', /^'models': the policy has no model 'chta'. Did you mean 'chat'\? There are: /],
    [{ models: ['ab'] }, 'models', /'ab' picks chat or lambda, and the key would list none of them/],
    [{ zones: ['ue'] }, 'zones', /no target in a zone 'ue'. (?:Did you mean '\w+'\? )?There are: eu and us./],
    [{ routes: ['chats'] }, 'routes', /no route 'chats'. Did you mean 'chat'\?/],
    [{ budget: { usd: 0, per: 'month' } }, 'budget.usd', /^'budget.usd'/],
    [{ budget: { usd: 1, per: 'year' } }, 'budget.per', /minute, hour, day or month/],
    [{ budget: { usd: 1 } }, 'budget.per', /^'budget.per'/],
    [
      { groups: { costcentre: '1' } },
      'groups',
      /no group 'costcentre'. Did you mean 'cost-centre'\? There are: cost-centre and team./,
    ],
    [{ groups: { team: '' } }, 'groups.team', /^'groups.team'/],
    [{ groups: { team: 'a\nb' } }, 'groups.team', /control characters/],
    [{ groups: { a: '1', b: '1', c: '1', d: '1' } }, 'groups', /may have 3 at most/],
    [{ plan: 'gold' }, 'plan', /^'plan': the policy has no plan 'gold'. It has: free, pro./],
    [{ scopes: ['write'] }, 'scopes.0', /^'scopes.0'/],
    [{ scopes: ['read'], models: ['chat'] }, 'models', /would not be of scope 'call'/],
    [{ expiresAt: '2020-01-01T00:00:00Z' }, 'expiresAt', /is past/],
    [{ expiresAt: 'soon' }, 'expiresAt', /ISO 8601/],
    [{ expiresAt: '9999-12-31T23:59:59-14:00' }, 'expiresAt', /of the years 2000 to 9998/],
    [{ expiresAt: '2027-02-30T00:00:00Z' }, 'expiresAt', /ISO 8601/],
    [{ consumer: '~entra~t~o' }, 'consumer', /1 to 128 letters/],
    [{ consumer: '~' }, 'consumer', /1 to 128 letters/],
  ])('not with %j, which names the field and changes nothing', async (input, field, message) => {
    await expect(create(input)).rejects.toMatchObject({ field, message: expect.stringMatching(message) })
    expect(await Array.fromAsync(store.listKeys({}))).toEqual([])
    expect(await Array.fromAsync(store.listConsumers())).toEqual([])
  })

  test('not with a group where the policy has none', async () => {
    managed = { ...managed, policy: policyOf() }
    await expect(create({ groups: { team: 'a' } })).rejects.toMatchObject({ field: 'groups' })
  })

  test('and its secret is written down nowhere', async () => {
    const { key, id } = await create({ groups: { team: 'a' } })
    const rotated = await act(rotateKey, { key: id })
    const rows = JSON.stringify(await Array.fromAsync(audit.scan({ partition: { from: '', before: '~' } })))
    expect(rows).toContain('createKey')
    expect(rows).toContain('rotateKey')
    for (const secret of [key, rotated.key]) {
      expect(rows).not.toContain(secret.slice(16))
      expect(rows).not.toContain(parseKey(secret)?.digest)
    }
  })
})

describe('a key is rotated', () => {
  test('with a grace of seven days, or as long as is said', async () => {
    for (const [graceSeconds, endsAt] of [
      [undefined, NOW + 7 * DAY_MS],
      [0, NOW],
      [3_600, NOW + 3_600_000],
    ] as const) {
      const { id } = await create({ models: ['chat'] })
      const rotated = await act(rotateKey, { key: id, ...(graceSeconds === undefined ? {} : { graceSeconds }) })
      expect(rotated.replaces).toEqual({ id, endsAt: new Date(endsAt).toISOString() })
      expect(await act(showKey, { key: rotated.id })).toMatchObject({ models: ['chat'], family: id, state: 'active' })
      expect(await act(showKey, { key: id })).toMatchObject({
        replacedBy: rotated.id,
        expiresAt: new Date(endsAt).toISOString(),
        state: graceSeconds === 0 ? 'expired' : 'active',
      })
    }
  })

  test('once: again it is a conflict that names the one to rotate', async () => {
    const { id } = await create()
    const { id: next } = await act(rotateKey, { key: id })
    await expect(act(rotateKey, { key: id })).rejects.toMatchObject({
      status: 409,
      code: 'conflict',
      message: expect.stringContaining(`Key ${next} has taken the place of key ${id}`),
    })
  })
})

test('what a key has spent by itself begins anew for all of its family, and one without a budget says so', async () => {
  const counters = memoryCounterStore({ wallClock: () => NOW, now: () => 0 })
  managed = { ...managed, counters }
  const { id } = await create({ budget: { usd: 1, per: 'day' } })
  const { id: next } = await act(rotateKey, { key: id })
  expect(await act(beginLimitsAnew, { key: next })).toEqual({
    subject: `key:${id}`,
    limits: ['key-usd'],
    what: `All limits of key ${next}`,
  })
  expect((await counters.read(`key:${id}`, managed.signal)).row).toBeDefined()
  const { id: plain } = await create()
  await expect(act(beginLimitsAnew, { key: plain })).rejects.toMatchObject({
    status: 422,
    message: expect.stringContaining(`Key ${plain} has no budget of its own.`),
  })
  await expect(act(beginLimitsAnew, { key: 'abcdefghijkl' })).rejects.toMatchObject({ status: 404 })
})

test('a key ends, is disabled, enabled and revoked, and one that is not there is told so each time', async () => {
  const { id } = await create()
  expect(await act(disableKey, { key: id })).toMatchObject({ id, state: 'disabled' })
  expect(await act(enableKey, { key: id })).toMatchObject({ id, state: 'active' })
  expect(await act(expireKey, { key: id, at: '2027-01-01T00:00:00+01:00' })).toMatchObject({
    state: 'active',
    expiresAt: '2026-12-31T23:00:00.000Z',
  })
  expect(await act(expireKey, { key: id })).toMatchObject({ state: 'expired', expiresAt: new Date(NOW).toISOString() })
  expect(await act(revokeKey, { key: id })).toEqual({ id })
  for (const action of [showKey, disableKey, enableKey, expireKey, revokeKey, rotateKey]) {
    await expect(act(action, { key: id })).rejects.toMatchObject({ status: 404, code: 'not_found' })
  }
})

test('a whole key is refused where its id is meant, and not repeated', async () => {
  const { key } = await create()
  for (const action of [showKey, disableKey, enableKey, expireKey, revokeKey, rotateKey]) {
    await expect(act(action, { key })).rejects.toMatchObject({ status: 400, field: 'key' })
    await expect(act(action, { key })).rejects.not.toMatchObject({
      message: expect.stringContaining(key.slice(16, 40)),
    })
  }
  await expect(act(findKeys, { beginning: key.slice(3) })).rejects.toMatchObject({ field: 'beginning' })
})

describe('a key that was found somewhere', () => {
  const digest = (text: string) => hash('sha256', text, 'base64url')

  test('is told by its id, or how that begins, with its owner', async () => {
    const [mine, other] = [await create({ models: ['chat'] }), await create({ consumer: 'bob', plan: 'pro' })]
    const found = { id: mine.id, consumer: 'alice', plan: 'free', state: 'active', models: ['chat'], isThatKey: null }
    expect(await act(findKeys, { beginning: mine.id })).toMatchObject({ keys: [found], more: false })
    expect((await act(findKeys, { beginning: mine.id.slice(0, 6) })).keys).toMatchObject([found])
    expect((await act(findKeys, { beginning: other.id, digest: digest(other.key) })).keys).toMatchObject([
      { consumer: 'bob', isThatKey: true },
    ])
    expect((await act(findKeys, { beginning: other.id, digest: digest(mine.key) })).keys).toMatchObject([
      { consumer: 'bob', isThatKey: false },
    ])
    expect(await act(findKeys, { beginning: (parseKey(generateKey()) ?? expect.fail()).publicId })).toEqual({
      keys: [],
      more: false,
    })
  })

  test('among too many is told with the first of them, and that there are more', async () => {
    for (let index = 0; index < 22; index += 1) {
      const publicId = `abcd${String(index).padStart(8, '0')}`
      await store.addKey({
        publicId,
        consumer: 'gone',
        digest: 'q'.repeat(43),
        scopes: ['call'],
        disabled: false,
        createdAt: NOW,
      })
    }
    const { keys, more } = await act(findKeys, { beginning: 'abcd' })
    expect([keys.length, more]).toEqual([20, true])
    expect(keys[0]).toMatchObject({ consumer: 'gone', plan: null, consumerDisabled: false })
  })

  test.each(['abc', 'tg_abcd', 'abcd-', '', 'a'.repeat(13)])('can’t be looked for by %j', async (beginning) => {
    await expect(act(findKeys, { beginning })).rejects.toMatchObject({ status: 400, field: 'beginning' })
  })
})
