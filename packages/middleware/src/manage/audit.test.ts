import { expect, test } from 'vitest'
import * as z from 'zod'
import { StoreUnavailable } from '../pipeline/index.ts'
import { memoryTable, type Table } from '../storage/index.ts'
import { type Managed, manageAction } from './action.ts'
import { AUDIT_LIFE_MS, listAudit, sweepAudit } from './audit.ts'
import { ManageFault } from './fault.ts'
import { perform } from './perform.ts'

/* A change is written down before it takes effect. */

const NOW = Date.UTC(2027, 0, 31, 12)

function setting(audit: Table = memoryTable({ wallClock: () => NOW }), at = NOW) {
  const lines: (readonly [event: string, fields: unknown])[] = []
  const managed = {
    audit,
    actor: 'key abc (operator)',
    origin: { requestId: 'r-1', network: '192.0.2.1' },
    wallClock: () => at,
    signal: new AbortController().signal,
    log: (_level, event, fields) => lines.push([event, fields]),
  } as Partial<Managed> as Managed
  const changes = async (asked = {}) => (await perform(listAudit, asked, managed)).changes
  return { audit, managed, lines, changes }
}

function changing(change: () => Promise<void>) {
  return manageAction({
    id: 'change',
    summary: 'A change.',
    method: 'POST',
    path: '/things/{thing}',
    secrets: ['password'],
    input: z.strictObject({ thing: z.string(), password: z.string().optional(), note: z.string().optional() }),
    output: z.strictObject({}),
    async run() {
      await change()
      return {}
    },
  })
}

test('where it can’t be written down, nothing is changed', async () => {
  let isChanged = false
  const change = changing(async () => {
    isChanged = true
  })
  const { audit } = setting()
  const failing = { ...audit, put: () => Promise.reject(new StoreUnavailable()) }
  const { managed, lines } = setting(failing)
  await expect(perform(change, { thing: 'a' }, managed)).rejects.toMatchObject({
    code: 'store_unavailable',
    status: 503,
    message: expect.stringContaining('Nothing was changed'),
  })
  expect(isChanged).toBe(false)
  expect(lines.map(([event]) => event)).toEqual(['audit not written'])
})

test('the row and the line stand there while the change is made, and are told what came of it', async () => {
  const { managed, lines, changes } = setting()
  let meanwhile: unknown
  const change = changing(async () => {
    meanwhile = [await changes(), lines.map(([event]) => event)]
  })
  await perform(change, { thing: 'a/b' }, managed)
  const row = {
    change: expect.any(String),
    at: new Date(NOW).toISOString(),
    actor: 'key abc (operator)',
    action: 'change',
    subject: '/things/a/b',
    input: { thing: 'a/b' },
    requestId: 'r-1',
    network: '192.0.2.1',
  }
  expect(meanwhile).toEqual([[{ ...row, outcome: 'unknown' }], ['manage']])
  expect(await changes()).toEqual([{ ...row, outcome: 'done' }])
  expect(lines.map(([event]) => event)).toEqual(['manage', 'managed'])
})

test.each([
  ['a decision', new ManageFault('No.', { code: 'conflict', status: 409 }), { outcome: 'refused', code: 'conflict' }],
  ['an outage', new StoreUnavailable(), { outcome: 'failed' }],
])('%s is what came of it, and is thrown on', async (_what, fault, told) => {
  const { managed, changes } = setting()
  const change = changing(() => Promise.reject(fault))
  await expect(perform(change, { thing: 'a' }, managed)).rejects.toBe(fault)
  expect(await changes()).toEqual([expect.objectContaining(told)])
})

test('a change stands, and is answered, where what came of it can’t be written down', async () => {
  const { audit } = setting()
  const { managed, changes } = setting({ ...audit, merge: () => Promise.reject(new StoreUnavailable()) })
  await expect(
    perform(
      changing(async () => {}),
      { thing: 'a' },
      managed,
    ),
  ).resolves.toEqual({})
  expect(await changes()).toMatchObject([{ outcome: 'unknown' }])
})

test('what is secret or looks like a key is in neither the row nor the line', async () => {
  const { managed, lines, changes } = setting()
  const key = `tg_${'a'.repeat(12)}_${'b'.repeat(49)}`
  const input = { thing: 'a', password: 'hunter2', note: `${key} ${'x'.repeat(500)}` }
  await perform(
    changing(async () => {}),
    input,
    managed,
  )
  const told = JSON.stringify([await changes(), lines])
  for (const secret of ['hunter2', 'bbbbb', 'aaaaa', 'x'.repeat(300)]) expect(told).not.toContain(secret)
  expect(await changes()).toMatchObject([
    { input: { password: '(left out)', note: expect.stringContaining('tg_… x') } },
  ])
})

test('it is read the newest first, over days, and a page at a time', async () => {
  const { audit } = setting()
  const hours = [50, 30, 26, 25, 2, 1, 0]
  for (const hour of hours) {
    await perform(
      changing(async () => {}),
      { thing: `h${hour}` },
      setting(audit, NOW - hour * 3_600_000).managed,
    )
  }
  const { managed } = setting(audit)
  const seen: string[] = []
  let cursor: string | undefined
  do {
    const page = await perform(listAudit, { limit: '3', ...(cursor && { cursor }) }, managed)
    expect(page.changes.length).toBeLessThanOrEqual(3)
    seen.push(...page.changes.map(({ subject }) => subject.replace('/things/', '')))
    cursor = page.next
  } while (cursor !== undefined)
  expect(seen).toEqual(['h0', 'h1', 'h2', 'h25', 'h26', 'h30', 'h50'])
  const { changes } = await perform(listAudit, { since: '27h', until: '90m' }, managed)
  expect(changes.map(({ subject }) => subject)).toEqual(['/things/h2', '/things/h25', '/things/h26'])
})

test('it is kept for 400 days', async () => {
  const { audit, changes } = setting()
  for (const days of [0, 399, 402]) {
    await perform(
      changing(async () => {}),
      { thing: String(days) },
      setting(audit, NOW - days * 86_400_000).managed,
    )
  }
  expect(await sweepAudit(audit, NOW, new AbortController().signal)).toBe(1)
  expect(await changes({ since: '500d' })).toHaveLength(2)
  expect(AUDIT_LIFE_MS).toBe(400 * 86_400_000)
})
