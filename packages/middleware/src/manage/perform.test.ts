import { expect, test } from 'vitest'
import * as z from 'zod'
import { memoryTable } from '../storage/index.ts'
import type { Managed } from './action.ts'
import { manageAction } from './action.ts'
import { listAudit } from './audit.ts'
import { perform } from './perform.ts'

/* What every action has in common: its input is checked before it runs. */

const renamed = manageAction({
  id: 'rename',
  summary: 'A name.',
  method: 'POST',
  path: '/names/{name}',
  input: z.strictObject({ name: z.string().min(1) }),
  output: z.strictObject({ name: z.string() }),
  run: async ({ name }) => ({ name: name.toUpperCase() }),
})
const NOTHING = {
  audit: memoryTable(),
  actor: 'a test',
  wallClock: Date.now,
  signal: new AbortController().signal,
  log: () => {},
} as Partial<Managed> as Managed

test('an action is given what its input says', async () => {
  await expect(perform(renamed, { name: 'a' }, NOTHING)).resolves.toEqual({ name: 'A' })
})

test.each([
  [{ name: '' }, 'name'],
  [{}, 'name'],
  [{ name: 'a', nam: 1 }, 'nam'],
  [null, undefined],
])('%j is refused, and names the field', async (given, field) => {
  await expect(perform(renamed, given, NOTHING)).rejects.toMatchObject({ code: 'invalid_request', status: 400, field })
})

test('a field that is left out is told as missing', async () => {
  await expect(perform(renamed, {}, NOTHING)).rejects.toThrow("'name' is missing.")
})

test('what changes something is written down, and what only looks is not', async () => {
  const looking = manageAction({ ...renamed, changesNothing: true })
  const managed = { ...NOTHING, audit: memoryTable() }
  const changes = async () => (await perform(listAudit, {}, managed)).changes.map(({ subject }) => subject)
  await perform(looking, { name: 'a' }, managed)
  expect(await changes()).toEqual([])
  await perform(renamed, { name: 'b' }, managed)
  expect(await changes()).toEqual(['/names/b'])
})
