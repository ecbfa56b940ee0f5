import type { EntityKey, Table } from '@tollgate/middleware'
import { expect, test } from 'vitest'
import { unique } from '../support/consumers.ts'

/** What holds of a table wherever its rows are. */
export function tableConforms(open: () => Table): void {
  const table = open()
  const signal = new AbortController().signal
  const keyOf = (rowKey = unique('row'), partitionKey = 'p'): EntityKey => ({ partitionKey, rowKey })

  const fields = {
    text: 'ü "quoted" \u2028 \\',
    empty: '',
    whole: -7,
    half: 0.5,
    large: 9_007_199_254_740_993n,
    no: false,
    time: new Date('2026-11-27T12:34:56.789Z'),
    bytes: Buffer.from([0, 255, 254, 10]),
  }

  test('is empty before the first row is written', async () => {
    expect((await table.read(keyOf())).entity).toBeUndefined()
    expect(await Array.fromAsync(table.scan({ partition: 'p' }))).toEqual([])
    expect(await Array.fromAsync(table.list({}))).toEqual([])
    expect(await table.merge({ ...keyOf() })).toBe(false)
    expect(await table.remove(keyOf(), 'any')).toBe(false)
    expect((await table.put({ ...keyOf(), a: 1 }, { etag: 'W/"x"' })).etag).toBeUndefined()
  })

  test('gives back what was written, with an ETag and the time of the write', async () => {
    const key = keyOf()
    const bytes = Buffer.from(fields.bytes)
    const { etag } = await table.put({ ...key, ...fields, bytes, absent: undefined }, 'absent')
    bytes.fill(1)
    const { entity } = await table.read<typeof fields>(key)
    expect(entity).toMatchObject({ ...key, ...fields, etag })
    expect(entity).not.toHaveProperty('absent')
    expect(Date.parse(entity?.timestamp ?? '')).toBeGreaterThan(Date.now() - 5 * 60_000)
    const [scanned] = await Array.fromAsync(
      table.scan<typeof fields & { timestamp: string }>({ partition: 'p', rows: only(key) }),
    )
    expect(scanned?.timestamp).toBe(entity?.timestamp)
    expect(scanned).toMatchObject({ ...key, ...fields, bytes: expect.any(Uint8Array), etag })
    expect(Buffer.from(scanned?.bytes ?? [])).toEqual(fields.bytes)
  })

  test('writes only where the condition holds', async () => {
    const key = keyOf()
    const { etag: first = '' } = await table.put({ ...key, a: 1 }, 'absent')
    expect((await table.put({ ...key, a: 2 }, 'absent')).etag).toBeUndefined()
    const { etag: second = '' } = await table.put({ ...key, a: 3 }, { etag: first })
    expect(second).not.toBe(first)
    expect((await table.put({ ...key, a: 4 }, { etag: first })).etag).toBeUndefined()
    expect(await table.remove(key, { etag: first })).toBe(false)
    expect((await table.read(key)).entity).toMatchObject({ a: 3, etag: second })
    await table.put({ ...key, b: 1 }, 'any')
    expect((await table.read(key)).entity).not.toHaveProperty('a')
    expect(await table.merge({ ...key, c: 2 })).toBe(true)
    expect((await table.read(key)).entity).toMatchObject({ b: 1, c: 2 })
    expect(await table.remove(key, 'any')).toBe(true)
    expect((await table.read(key)).entity).toBeUndefined()
  })

  test('a scan gives the rows of a range, in order, with the fields that are wanted', async () => {
    const partition = unique('scan')
    const rows = ['a', 'b-1', 'b-10', 'b-2', 'c', '~']
    for (const rowKey of [...rows].reverse())
      await table.put({ ...keyOf(rowKey, partition), a: rowKey, b: 1 }, 'absent')
    const scan = async (from: string, before: string) =>
      (await Array.fromAsync(table.scan({ partition, rows: { from, before } }, signal))).map(({ rowKey }) => rowKey)
    expect(await scan('', '~~')).toEqual(rows)
    expect(await scan('b-', 'b-2')).toEqual(['b-1', 'b-10'])
    expect(await scan('c', 'c')).toEqual([])
    const [first] = await Array.fromAsync(table.scan<{ a: string; b?: number }>({ partition, select: ['a'] }, signal))
    expect(first).toMatchObject({ partitionKey: partition, rowKey: 'a', a: 'a' })
    expect(first).not.toHaveProperty('b')
    expect(first?.etag).toBe((await table.read(keyOf('a', partition))).entity?.etag)
  })

  test('a scan gives the rows of all partitions of a range', async () => {
    const prefix = unique("it's")
    for (const name of ['c', 'a', 'b']) {
      for (const rowKey of ['2', '1']) await table.put({ ...keyOf(rowKey, `${prefix}${name}`) }, 'absent')
    }
    const partition = { from: `${prefix}a`, before: `${prefix}c` }
    const found = await Array.fromAsync(table.scan({ partition }, signal))
    expect(found.map(({ partitionKey, rowKey }) => partitionKey.slice(-1) + rowKey)).toEqual(['a1', 'a2', 'b1', 'b2'])
    const second = await Array.fromAsync(table.scan({ partition, rows: { from: '2', before: '3' } }, signal))
    expect(second.map(({ partitionKey, rowKey }) => partitionKey.slice(-1) + rowKey)).toEqual(['a2', 'b2'])
  })

  test('a scan gives rows that are together longer than an answer may be', async () => {
    const partition = unique('long')
    const bytes = Buffer.alloc(64 * 1024, 7)
    const chunks = Object.fromEntries(Array.from({ length: 11 }, (_, index) => [`c${index}`, bytes]))
    for (let index = 0; index < 8; index += 1) await table.put({ ...keyOf(String(index), partition), ...chunks }, 'any')
    let length = 0
    for await (const row of table.scan<{ c0: Uint8Array }>({ partition, select: Object.keys(chunks) }, signal)) {
      length += row.c0.byteLength
    }
    expect(length).toBe(8 * 64 * 1024)
  })

  test('removes a batch whole, or nothing of it', async () => {
    const partition = unique('batch')
    const keys = ['a', 'b', 'c'].map((rowKey) => keyOf(rowKey, partition))
    for (const key of keys) await table.put({ ...key }, 'absent')
    await expect(table.removeAll([...keys, keyOf('d', partition)], signal)).rejects.toMatchObject({ statusCode: 404 })
    expect(await Array.fromAsync(table.scan({ partition }, signal))).toHaveLength(3)
    await table.removeAll(keys, signal)
    expect(await Array.fromAsync(table.scan({ partition }, signal))).toEqual([])
  })

  test('lists what has these values, and what names an earlier time', async () => {
    const partition = unique('list')
    const row = (rowKey: string, time: number) => ({
      ...keyOf(rowKey, partition),
      kind: partition,
      time: new Date(time),
    })
    for (const [rowKey, time] of [
      ['a', 1_000],
      ['b', 3_000],
    ] as const)
      await table.put(row(rowKey, time), 'absent')
    const listed = await Array.fromAsync(table.list<{ kind: string }>({ kind: partition }, signal))
    expect(listed.map(({ rowKey }) => rowKey)).toEqual(['a', 'b'])
    const before = await Array.fromAsync(table.listBefore({ field: 'time', time: new Date(3_000), from: 'z' }, signal))
    expect(before.filter(({ partitionKey }) => partitionKey === partition).map(({ rowKey }) => rowKey)).toEqual(['a'])
  })

  test('does nothing for a signal that is aborted', async () => {
    const aborted = AbortSignal.abort()
    const key = keyOf()
    await expect(table.put({ ...key }, 'any', aborted)).rejects.toThrow('abort')
    await expect(table.read(key, { signal: aborted })).rejects.toThrow('abort')
    expect((await table.read(key)).entity).toBeUndefined()
  })
}

function only({ rowKey }: EntityKey) {
  return { from: rowKey, before: `${rowKey}!` }
}
