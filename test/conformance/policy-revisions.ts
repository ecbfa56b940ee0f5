import { type Head, type PolicyRevisions, type Proposal, RevisionLost } from '@tollgate/middleware'
import { describe, expect, test } from 'vitest'

const signal = new AbortController().signal

export const proposed = (text: string, change: Partial<Proposal> = {}): Proposal => ({
  text,
  by: 'ann',
  from: 'cli',
  source: 'a.yaml',
  ...change,
})

const inForce = ({ current, shadow, last }: Head) => [current?.revision.number, shadow?.revision.number, last]

/**
 * What the revisions of a policy must keep to, over any table.
 *
 * @param create none yet; the second one of a pair sees what the first one does
 */
export function policyRevisionsConform(name: string, create: () => readonly [PolicyRevisions, PolicyRevisions]): void {
  describe(`policy revisions: ${name}`, () => {
    test('are none before one was applied', async () => {
      const [revisions] = create()
      expect(await revisions.look()).toMatchObject({ current: undefined, shadow: undefined, last: 0 })
      expect(await revisions.history()).toEqual([])
    })

    test('are numbered, with who and when, and each has its text still', async () => {
      const [revisions, other] = create()
      const before = await revisions.look()
      await revisions.apply(proposed('a: 1', { message: 'first' }), before)
      await other.apply(proposed('a: 2', { by: 'bob', from: 'api' }), await other.look())
      const head = await revisions.look()
      expect(inForce(head)).toEqual([2, undefined, 2])
      const history = await revisions.history()
      expect(history).toMatchObject([
        { number: 2, by: 'bob', from: 'api' },
        { number: 1, by: 'ann', from: 'cli', source: 'a.yaml', message: 'first', at: before.date },
      ])
      const texts = await Promise.all(history.map((revision) => other.textOf({ revision })))
      expect(texts).toEqual(['a: 2', 'a: 1'])
      expect(head.current?.text).toBe('a: 2')
    })

    test('of two at once one is applied, and the other is told by whom, and has changed nothing', async () => {
      const [revisions, other] = create()
      const [mine, theirs] = [await revisions.look(), await other.look()]
      await other.apply(proposed('a: 2', { by: 'bob' }), theirs)
      const lost = await revisions.apply(proposed('a: 1'), mine).catch((error) => error)
      expect(lost).toBeInstanceOf(RevisionLost)
      expect(lost.head.current.revision).toMatchObject({ number: 1, by: 'bob' })
      await revisions.apply(proposed('a: 1'), lost.head)
      expect((await other.history()).map(({ number, by }) => [number, by])).toEqual([
        [2, 'ann'],
        [1, 'bob'],
      ])
      await expect(other.apply(proposed('a: 3'), theirs)).rejects.toBeInstanceOf(RevisionLost)
    })

    test('what is in force already, to the byte, is not applied again', async () => {
      const [revisions] = create()
      const first = await revisions.apply(proposed('a: 1'), await revisions.look())
      expect(await revisions.apply(proposed('a: 1', { by: 'bob' }), await revisions.look())).toEqual(first)
      expect(await revisions.history()).toHaveLength(1)
    })

    test('one is judged beside the one in force, until it is ended, replaced or put in force', async () => {
      const [revisions, other] = create()
      const apply = async (text: string, shadow?: true) =>
        revisions.apply(proposed(text, shadow ? { shadow } : {}), await revisions.look())
      await apply('a: 1')
      await apply('a: 2', true)
      expect(inForce(await other.look())).toEqual([1, 2, 2])
      await apply('a: 3', true)
      expect(inForce(await other.look())).toEqual([1, 3, 3])
      await apply('a: 4')
      expect(inForce(await other.look())).toEqual([4, 3, 4])
      await revisions.endShadow(await revisions.look())
      expect(inForce(await other.look())).toEqual([4, undefined, 4])
      await apply('a: 5', true)
      await apply('a: 5')
      expect(inForce(await other.look())).toEqual([6, undefined, 6])
      expect((await other.history()).map(({ number, shadow }) => [number, shadow])).toEqual([
        [6, undefined],
        [5, true],
        [4, undefined],
        [3, true],
        [2, true],
        [1, undefined],
      ])
    })

    test.each([
      ['empty', ''],
      ['in all scripts', 'größe: "日本 🚪"'],
      ['longer than a field', 'ü'.repeat(40_000)],
      ['of 1 MiB', `# ${'x'.repeat(1024 * 1024 - 2)}`],
    ])('a text is kept to the byte: %s', async (_what, text) => {
      const [revisions, other] = create()
      await revisions.apply(proposed(text), await revisions.look())
      const { current } = await other.look()
      expect(current && (await other.textOf(current, signal)) === text).toBe(true)
    })

    test('what an instance can’t use is noted with it', async () => {
      const [revisions, other] = create()
      await revisions.apply(proposed('a: 1'), await revisions.look())
      const { current } = await revisions.look()
      if (current === undefined) throw new Error('Nothing is in force')
      expect(await other.refusalOf(current)).toBeUndefined()
      await revisions.noteRefused(current, 'line 1: …')
      expect(await other.refusalOf(current)).toBe('line 1: …')
    })
  })
}
