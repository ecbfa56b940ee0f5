import { setImmediate } from 'node:timers/promises'
import { beforeEach, describe, expect, test } from 'vitest'
import { type KeyRecord, keyUses } from './index.ts'

const HOUR_MS = 3_600_000
const START = 1_790_000_000_000

let now: number
let writes: { readonly id: string; readonly usedAt: number | undefined }[]
let held: Promise<void>
let fails: boolean
let logged: string[]
beforeEach(() => {
  now = START
  writes = []
  held = Promise.resolve()
  fails = false
  logged = []
})

const uses = () =>
  keyUses({
    store: {
      async updateKey(id, { usedAt }) {
        writes.push({ id, usedAt })
        await held
        if (fails) throw new Error('down')
        return true
      },
    },
    deadlineMs: 1_000,
    wallClock: () => now,
    log: (_level, message) => {
      logged.push(typeof message === 'string' ? message : JSON.stringify(message))
    },
  })
const key = (publicId: string, usedAt?: number): KeyRecord => ({
  publicId,
  consumer: 'alice',
  digest: 'q'.repeat(43),
  scopes: ['call'],
  disabled: false,
  createdAt: 0,
  ...(usedAt === undefined ? {} : { usedAt }),
})

describe('the last use of a key', () => {
  test('is written once an hour, however many requests there are, and however often the key is looked up anew', async () => {
    const { noteUse } = uses()
    let record = key('a')
    for (let second = 0; second < 5 * 3_600; second += 1) {
      now = START + second * 1_000
      if (second % 30 === 0) record = key('a', writes.at(-1)?.usedAt)
      for (let request = 0; request < 3; request += 1) noteUse(record)
      if (second % 600 === 0) await setImmediate()
    }
    await setImmediate()
    expect(writes.map(({ usedAt }) => (usedAt ?? 0) - START)).toEqual([0, 1, 2, 3, 4].map((hour) => hour * HOUR_MS))
  })

  test('is at most an hour after what is written', async () => {
    const { noteUse } = uses()
    const last = START + 10.5 * HOUR_MS
    for (now = START; now <= last; now += 61_000) noteUse(key('a', writes.at(-1)?.usedAt))
    await setImmediate()
    expect(last - (writes.at(-1)?.usedAt ?? 0)).toBeLessThan(HOUR_MS + 61_000)
  })

  test('that another instance has written within the hour is not written again', async () => {
    const { noteUse } = uses()
    noteUse(key('a', START - HOUR_MS + 1))
    await setImmediate()
    expect(writes).toEqual([])
    now += 1
    noteUse(key('a', START - HOUR_MS + 1))
    await setImmediate()
    expect(writes).toHaveLength(1)
  })

  test('is written without being waited for, four at a time, and no more wait than may', async () => {
    let release = () => {}
    held = new Promise((resolve) => {
      release = resolve
    })
    const { noteUse } = uses()
    for (let index = 0; index < 3_000; index += 1) noteUse(key(`k${index}`))
    await setImmediate()
    expect(writes).toHaveLength(4)
    release()
    await setImmediate()
    expect(writes).toHaveLength(1_000)
    // Those that found no room are written with a later use.
    for (let index = 0; index < 1_500; index += 1) noteUse(key(`k${index}`))
    await setImmediate()
    expect(writes).toHaveLength(1_500)
  })

  test('that can’t be written fails nothing, is tried again after an hour, and is told once', async () => {
    fails = true
    const { noteUse } = uses()
    for (const id of ['a', 'b', 'c']) noteUse(key(id))
    await setImmediate()
    noteUse(key('a'))
    await setImmediate()
    expect(writes).toHaveLength(3)
    expect(logged).toHaveLength(1)
    now += HOUR_MS
    noteUse(key('a'))
    await setImmediate()
    expect(writes).toHaveLength(4)
  })

  test('is not waited for longer than the writes under way take, when the process ends', async () => {
    let release = () => {}
    held = new Promise((resolve) => {
      release = resolve
    })
    const { noteUse, close } = uses()
    for (let index = 0; index < 500; index += 1) noteUse(key(`k${index}`))
    await setImmediate()
    const closed = close()
    release()
    await closed
    expect(writes).toHaveLength(4)
  })
})
