import { memoryTable, type PolicyRevisions, policyRevisions, type Table } from '@tollgate/middleware'
import fc from 'fast-check'
import { describe, expect, inject, test } from 'vitest'
import { unique } from '../support/consumers.ts'
import { startStorageProxy } from '../support/storage-proxy.ts'
import { openAccount, tableAccounts } from '../support/tables.ts'
import { policyRevisionsConform, proposed } from './policy-revisions.ts'

const pairOver = (table: Table, name = unique('policies/a b?')) =>
  [policyRevisions({ table, name }), policyRevisions({ table, name })] as const

policyRevisionsConform('memory', () => pairOver(memoryTable()))
for (const { name, open } of tableAccounts()) policyRevisionsConform(name, () => pairOver(open('tollgatepolicy')))

test('policies of different files are kept apart, whatever their names are', async () => {
  const table = openAccount(inject('azurite'))('tollgatepolicy')
  const names = ['a', 'a/', 'a=2f;', 'A', 'ü', 'u', `${'x'.repeat(300)}1`, `${'x'.repeat(300)}2`].map(
    (name) => `${unique('apart')}${name}`,
  )
  for (const name of names) {
    const revisions = policyRevisions({ table, name })
    await revisions.apply(proposed(name), await revisions.look())
  }
  for (const name of names) {
    expect((await policyRevisions({ table, name }).look()).current?.text).toBe(name)
  }
})

describe('policy revisions: faults of the tables', () => {
  const faulty = async () => {
    const proxy = await startStorageProxy(inject('azurite'))
    const name = unique('faults')
    const over = (connection: string) => policyRevisions({ table: openAccount(connection)('tollgatepolicy'), name })
    return { proxy, revisions: over(proxy.connectionString), behind: over(inject('azurite')) }
  }

  test('a change whose answer is lost is known to be made', async () => {
    const { proxy, revisions, behind } = await faulty()
    try {
      await revisions.apply(proposed('a: 1'), await revisions.look())
      proxy.inject({ kind: 'lost reply' }, { operation: 'update', times: 1 })
      expect(await revisions.apply(proposed('a: 2'), await revisions.look())).toMatchObject({ number: 2 })
      expect(await behind.history()).toHaveLength(2)
    } finally {
      await proxy.close()
    }
  })

  test.each([1, 2, 3])('one that ends at its write %i leaves nothing half', async (write) => {
    const { proxy, revisions, behind } = await faulty()
    try {
      await revisions.apply(proposed('a: 1'), await revisions.look())
      const head = await revisions.look()
      const operations = ['replace', 'insert', 'update'] as const
      proxy.inject({ kind: 'lost request' }, { operation: operations[write - 1] as 'update' })
      await expect(revisions.apply(proposed('a: 2'), head)).rejects.toThrow()
      proxy.heal()
      expect((await behind.look()).current?.text).toBe('a: 1')
      expect(await behind.history()).toHaveLength(1)
      expect(await revisions.apply(proposed('a: 3'), head)).toMatchObject({ number: 2 })
      expect((await behind.history()).map(({ number }) => number)).toEqual([2, 1])
    } finally {
      await proxy.close()
    }
  })

  test('a look is one read', async () => {
    const { proxy, revisions } = await faulty()
    try {
      await revisions.apply(proposed('a: 1'), await revisions.look())
      proxy.forget()
      const { current } = await revisions.look()
      expect(current && (await revisions.textOf(current))).toBe('a: 1')
      expect(proxy.counts()).toEqual({ 'get tollgatepolicy': 1 })
    } finally {
      await proxy.close()
    }
  })
})

/** How a use of the table ends: as it should, or with an error, before it was carried out or after. */
type Ending = 'done' | 'not done' | 'answer lost'

/** A table whose uses end as a schedule says, and take their turns by it. */
function playedTable(inner: Table, next: () => Ending): Table {
  const played =
    <Args extends unknown[], T>(method: (...args: Args) => Promise<T>) =>
    async (...args: Args): Promise<T> => {
      const ending = next()
      await Promise.resolve()
      if (ending === 'not done') throw new Error('not done')
      const result = await method(...args)
      await Promise.resolve()
      if (ending === 'answer lost') throw new Error('answer lost')
      return result
    }
  return { ...inner, read: played(inner.read) as Table['read'], put: played(inner.put) }
}

test('whatever is lost between many that apply at once: one is in force, and the history has each that was told of', async () => {
  const ending = fc.constantFrom<Ending>('done', 'done', 'done', 'done', 'not done', 'answer lost')
  const step = fc.record({
    writer: fc.nat(2),
    text: fc.nat(5),
    shadow: fc.boolean(),
    end: fc.boolean(),
    looksAgain: fc.boolean(),
  })
  await fc.assert(
    fc.asyncProperty(
      fc.array(step, { minLength: 3, maxLength: 12 }),
      fc.infiniteStream(ending),
      async (steps, ends) => {
        const inner = memoryTable()
        const table = playedTable(inner, () => ends.next().value)
        const writers = Array.from({ length: 3 }, () => policyRevisions({ table, name: 'p' }))
        const applied: number[] = []
        const lost: string[] = []
        let tried = 0
        const work = async (writer: PolicyRevisions, own: typeof steps) => {
          let head = await writer.look().catch(() => undefined)
          for (const { text, shadow, end, looksAgain } of own) {
            if (looksAgain || head === undefined) head = await writer.look().catch(() => undefined)
            if (head === undefined) continue
            try {
              if (end) await writer.endShadow(head)
              else {
                const by = `try ${tried++}`
                const revision = await writer
                  .apply(proposed(`a: ${text}`, { by, ...(shadow ? { shadow } : {}) }), head)
                  .catch((error) => {
                    if (error.name === 'RevisionLost') lost.push(by)
                    throw error
                  })
                if (revision.by === by) applied.push(revision.number)
              }
            } catch (error) {
              head = (error as { head?: typeof head }).head
            }
          }
        }
        await Promise.all(
          writers.map((writer, n) =>
            work(
              writer,
              steps.filter((each) => each.writer === n),
            ),
          ),
        )

        const seen = policyRevisions({ table: inner, name: 'p' })
        const [head, history] = [await seen.look(), await seen.history()]
        // One after the other, without a gap, and none twice.
        expect(history.map(({ number }) => number)).toEqual(history.map((_each, n) => history.length - n))
        expect(head.last).toBe(history.length)
        expect(new Set(applied).size).toBe(applied.length)
        for (const number of applied) expect(history.some((each) => each.number === number)).toBe(true)
        for (const by of lost) expect(history.some((each) => each.by === by)).toBe(false)
        expect(head.current?.revision).toEqual(history.find(({ shadow }) => !shadow))
        if (head.shadow !== undefined) expect(history).toContainEqual(head.shadow.revision)
        for (const revision of history) expect(await seen.textOf({ revision })).toMatch(/^a: \d$/)
      },
    ),
    { numRuns: 500, seed: 19 },
  )
})
