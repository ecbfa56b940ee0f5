import type { CounterStore, StoreTime } from '@tollgate/middleware'
import { describe, expect, test } from 'vitest'
import { unique } from '../support/consumers.ts'

const now = () => performance.now()
const signal = new AbortController().signal
const written = { etag: expect.any(String) }
const refused = { etag: undefined }

/** What every counter store must keep to. */
export function counterStoreConforms(name: string, create: () => CounterStore): void {
  describe(`counter store: ${name}`, () => {
    test('a subject has no row at first; the first write makes it', async () => {
      const store = create()
      const subject = unique('subject')
      expect((await store.read(subject, signal)).row).toBeUndefined()
      const { etag } = await store.writeIfMatch(subject, 'one', undefined, signal)
      expect((await store.read(subject, signal)).row).toEqual({ text: 'one', etag })
    })

    test('writes only over the row that was read', async () => {
      const store = create()
      const subject = unique('subject')
      await store.writeIfMatch(subject, 'one', undefined, signal)
      const { row } = await store.read(subject, signal)
      expect(await store.writeIfMatch(subject, 'two', row?.etag, signal)).toMatchObject(written)
      expect(await store.writeIfMatch(subject, 'stale', row?.etag, signal)).toMatchObject(refused)
      expect(await store.writeIfMatch(subject, 'first?', undefined, signal)).toMatchObject(refused)
      expect((await store.read(subject, signal)).row?.text).toBe('two')
    })

    test('the ETag of a write lets the next go without a read', async () => {
      const store = create()
      const subject = unique('subject')
      let etag: string | undefined
      for (const text of ['one', 'two', 'three']) {
        etag = (await store.writeIfMatch(subject, text, etag, signal)).etag
        expect(etag).toBeTypeOf('string')
      }
      expect((await store.read(subject, signal)).row).toEqual({ text: 'three', etag })
    })

    test('an ETag is never valid again, even if the row has its old text', async () => {
      const store = create()
      const subject = unique('subject')
      const first = await store.writeIfMatch(subject, 'one', undefined, signal)
      const second = await store.writeIfMatch(subject, 'two', first.etag, signal)
      const third = await store.writeIfMatch(subject, 'one', second.etag, signal)
      expect(new Set([first.etag, second.etag, third.etag])).toHaveLength(3)
      for (const { etag } of [first, second]) {
        expect(await store.writeIfMatch(subject, 'stale', etag, signal)).toMatchObject(refused)
      }
      expect((await store.read(subject, signal)).row).toEqual({ text: 'one', etag: third.etag })
    })

    test('an ETag from another row writes nothing', async () => {
      const store = create()
      const [known, unknown] = [unique('subject'), unique('subject')]
      const { etag } = await store.writeIfMatch(known, 'one', undefined, signal)
      expect(await store.writeIfMatch(unknown, 'two', etag, signal)).toMatchObject(refused)
      expect((await store.read(unknown, signal)).row).toBeUndefined()
    })

    test('of many writers over one row, exactly one succeeds', async () => {
      const store = create()
      const subject = unique('subject')
      const race = async (etag: string | undefined) => {
        const writes = Array.from({ length: 8 }, (_, i) => store.writeIfMatch(subject, `${i}`, etag, signal))
        return (await Promise.all(writes)).filter(({ etag }) => etag !== undefined)
      }
      expect(await race(undefined)).toHaveLength(1)
      const { row } = await store.read(subject, signal)
      expect(await race(row?.etag)).toHaveLength(1)
    })

    test('keeps subjects apart, whatever characters they hold', async () => {
      const store = create()
      const base = unique('subject')
      const tails = ['/a#?\\', '/A#?\\', ':é', ':e\u0301', '}', '{}', '*', '\0', ' \r\n$3\r\n', '🎟']
      const subjects = tails.map((tail) => base + tail)
      for (const subject of subjects) {
        expect(await store.writeIfMatch(subject, subject, undefined, signal)).toMatchObject(written)
      }
      for (const subject of subjects) expect((await store.read(subject, signal)).row?.text).toBe(subject)
    })

    test('keeps a text whole, an empty and a long one too', async () => {
      const store = create()
      const subject = unique('subject')
      let etag: string | undefined
      for (const text of ['{"é":"🎟 \\r\\n"}\r\n', '', 'x'.repeat(30_000)]) {
        etag = (await store.writeIfMatch(subject, text, etag, signal)).etag
        expect((await store.read(subject, signal)).row?.text).toBe(text)
      }
    })

    test('tells its own time with each answer: of a read, a write, and a write that it refused', async () => {
      const store = create()
      const subject = unique('subject')
      const answers: (() => Promise<{ readonly time: StoreTime | undefined }>)[] = [
        () => store.read(subject, signal),
        () => store.writeIfMatch(subject, 'one', undefined, signal),
        () => store.read(subject, signal),
        () => store.writeIfMatch(subject, 'two', undefined, signal),
        () => store.writeIfMatch(subject, 'two', 'W/"stale"', signal),
      ]
      for (const answer of answers) {
        const before = now()
        const { time } = await answer()
        const after = now()
        if (time === undefined) throw new Error('The answer bore no time')
        const { date, resolutionMs, sent, received } = time
        expect([before, sent, received, after]).toEqual([before, sent, received, after].toSorted((a, b) => a - b))
        expect(date).toBe(Math.floor(date))
        expect(date % resolutionMs).toBe(0)
        // The store and this machine share a clock here.
        expect(Math.abs(date - Date.now())).toBeLessThan(5_000)
      }
    })

    test('does nothing for a caller that has given up, and does not keep it waiting', async () => {
      const store = create()
      const subject = unique('subject')
      const gone = AbortSignal.abort()
      await expect(store.read(subject, gone)).rejects.toThrow()
      await expect(store.writeIfMatch(subject, 'one', undefined, gone)).rejects.toThrow()
      expect((await store.read(subject, signal)).row).toBeUndefined()
    })
  })
}
