import type { CounterStore } from '@tollgate/middleware'
import { describe, expect, test } from 'vitest'
import { unique } from '../support/consumers.ts'

const now = () => performance.now()
const signal = new AbortController().signal

/** What every counter store must keep to. */
export function counterStoreConforms(name: string, create: () => CounterStore): void {
  describe(`counter store: ${name}`, () => {
    test('a subject has no row at first; the first write makes it', async () => {
      const store = create()
      const subject = unique('subject')
      expect((await store.read(subject, signal)).row).toBeUndefined()
      expect(await store.writeIfMatch(subject, 'one', undefined, signal)).toBe(true)
      expect((await store.read(subject, signal)).row?.text).toBe('one')
    })

    test('writes only over the row that was read', async () => {
      const store = create()
      const subject = unique('subject')
      await store.writeIfMatch(subject, 'one', undefined, signal)
      const { row } = await store.read(subject, signal)
      expect(await store.writeIfMatch(subject, 'two', row?.etag, signal)).toBe(true)
      expect(await store.writeIfMatch(subject, 'stale', row?.etag, signal)).toBe(false)
      expect(await store.writeIfMatch(subject, 'first?', undefined, signal)).toBe(false)
      expect((await store.read(subject, signal)).row?.text).toBe('two')
    })

    test('an ETag from a row that does not exist writes nothing', async () => {
      const store = create()
      const [known, unknown] = [unique('subject'), unique('subject')]
      await store.writeIfMatch(known, 'one', undefined, signal)
      const { row } = await store.read(known, signal)
      expect(await store.writeIfMatch(unknown, 'two', row?.etag, signal)).toBe(false)
      expect((await store.read(unknown, signal)).row).toBeUndefined()
    })

    test('of many writers over one row, exactly one succeeds', async () => {
      const store = create()
      const subject = unique('subject')
      const first = await Promise.all(
        Array.from({ length: 8 }, (_, i) => store.writeIfMatch(subject, `${i}`, undefined, signal)),
      )
      expect(first.filter(Boolean)).toHaveLength(1)
      const { row } = await store.read(subject, signal)
      const next = await Promise.all(
        Array.from({ length: 8 }, (_, i) => store.writeIfMatch(subject, `${i}`, row?.etag, signal)),
      )
      expect(next.filter(Boolean)).toHaveLength(1)
    })

    test('keeps subjects apart, whatever characters they hold', async () => {
      const store = create()
      const base = unique('subject')
      const subjects = [`${base}/a#?\\`, `${base}/A#?\\`, `${base}:é`, `${base}:e\u0301`]
      for (const subject of subjects) expect(await store.writeIfMatch(subject, subject, undefined, signal)).toBe(true)
      for (const subject of subjects) expect((await store.read(subject, signal)).row?.text).toBe(subject)
    })

    test('tells its own time with each read, present row or not', async () => {
      const store = create()
      const subject = unique('subject')
      for (const round of [0, 1]) {
        const before = now()
        const { time } = await store.read(subject, signal)
        expect(time?.received).toBeGreaterThanOrEqual(before)
        // A Date header is cut to the second; the store and this machine share a clock here.
        expect(Math.abs((time?.date ?? 0) - Date.now())).toBeLessThan(5_000)
        if (round === 0) await store.writeIfMatch(subject, 'one', undefined, signal)
      }
    })
  })
}
