import { beforeEach, describe, expect, test } from 'vitest'
import { handClock } from '../../../../test/support/hand-clock.ts'
import { OperatorError } from '../pipeline/index.ts'
import { memoryTable, type Table } from '../storage/index.ts'
import {
  type InForce,
  type LivePolicyOptions,
  livePolicy,
  type Policy,
  type PolicyFile,
  type PolicyRevisions,
  type PolicySource,
  PolicyUnknown,
  policyRevisions,
  resolvePolicyText,
} from './index.ts'

/* One process's policy as it changes: what it reads, what it goes by, and what it says. */

const START = Date.UTC(2026, 10, 28, 12)
const plan = (name: string) => `plans: {${name}: {limits: []}}`
const bounds = { env: {}, readable: ['OPENAI_*'], hosts: [] }
const resolve = (of: { readonly text: string; readonly source: string } | undefined) =>
  resolvePolicyText(of, { bounds, defaultTarget: undefined })
/** By what this app's settings can't resolve. */
const UNSET = 'models: {m: {targets: [{openai: {model: m, key: {env: OPENAI_NOT_SET}}}]}}'

const fileOf = (text: string, savedAt = START - 60_000): PolicyFile => ({
  source: 'tollgate.policy.yaml',
  text,
  digest: 'of no account',
  savedAt,
})

/** One store, and instances over it. */
function world() {
  const clock = handClock(START)
  const inner = memoryTable({ wallClock: clock.time.wallClock })
  const reads: string[] = []
  let fault: Error | undefined
  let held: Promise<void> | undefined
  const table: Table = {
    ...inner,
    async read(key) {
      reads.push(key.rowKey)
      // It looks at no signal, and may answer late what it read early.
      const found = await inner.read<never>(key)
      await held
      if (fault !== undefined) throw fault
      return found
    },
    async *scan(where, signal) {
      reads.push('history')
      if (fault !== undefined) throw fault
      yield* inner.scan(where, signal)
    },
  }
  const operator = policyRevisions({ table: inner, name: 'p', wallClock: clock.time.wallClock })
  return {
    clock,
    reads,
    operator,
    fails(error: Error | undefined) {
      fault = error
    },
    async empty() {
      for await (const row of inner.scan({ partition: { from: '', before: '~' } })) await inner.remove(row, 'any')
    },
    /** Reads wait, until `goesOn` those that come then, and until `release` all. */
    holds() {
      const { promise, resolve } = Promise.withResolvers<void>()
      held = promise
      const goesOn = () => {
        held = undefined
      }
      return { goesOn, release: resolve }
    },
    async apply(text: string, shadow = false) {
      const told = { by: 'ann', from: 'cli', source: 'x.yaml', ...(shadow ? { shadow: true as const } : {}) } as const
      return operator.apply({ text, ...told }, await operator.look())
    },
    instance(file?: PolicyFile, change: Partial<LivePolicyOptions> = {}) {
      const lines: { event: string; level: string; [field: string]: unknown }[] = []
      const told: InForce[] = []
      let policy: Policy | OperatorError
      try {
        policy = resolve(file)
      } catch (error) {
        policy = error as OperatorError
      }
      const source = livePolicy({
        revisions: policyRevisions({ table, name: 'p', wallClock: clock.time.wallClock }),
        start: { file, policy },
        resolve,
        deadlineMs: 2_000,
        time: clock.time,
        log: (level, event, fields) => lines.push({ ...fields, level, event }),
        told: (now) => told.push(now),
        ...change,
      })
      return { source, lines, told }
    },
  }
}

/** What a request goes by: the plan's name. */
async function asked(source: PolicySource): Promise<string> {
  await source.refresh()
  return [...source.current().plans.keys()].join()
}

let own: ReturnType<typeof world>
beforeEach(() => {
  own = world()
})

describe('looks', () => {
  test('are made for a request whose last look began five seconds ago, one for all that come meanwhile', async () => {
    const { source } = own.instance()
    await own.apply(plan('a'))
    expect(await Promise.all([asked(source), asked(source), asked(source)])).toEqual(['a', 'a', 'a'])
    await own.apply(plan('b'))
    own.clock.pass(4_999)
    expect(source.refresh()).toBeUndefined()
    expect(await asked(source)).toBe('a')
    expect(own.reads).toEqual(['head'])
    own.clock.pass(1)
    expect(await Promise.all([asked(source), asked(source)])).toEqual(['b', 'b'])
    expect(own.reads).toEqual(['head', 'head'])
  })

  test('are never made by a timer', async () => {
    const { source } = own.instance()
    await asked(source)
    for (let i = 0; i < 100; i += 1) own.clock.pass(60_000)
    expect(own.reads).toEqual(['head'])
    expect(own.clock.pending()).toBe(0)
  })

  test('that find nothing new leave the same policy, as an object', async () => {
    const { source, told } = own.instance()
    await own.apply(plan('a'))
    await asked(source)
    const before = source.current()
    own.clock.pass(5_000)
    await asked(source)
    expect(source.current()).toBe(before)
    expect(told).toHaveLength(1)
  })

  test('of a text that is too long for the head read it once', async () => {
    const { source } = own.instance()
    await own.apply(`${plan('long')} # ${'x'.repeat(100_000)}`)
    expect(await asked(source)).toBe('long')
    own.clock.pass(5_000)
    await asked(source)
    expect(own.reads.map((row) => row.slice(0, 4))).toEqual(['head', 'text', 'head'])
  })

  test('what is equal in two revisions is the same object in both', async () => {
    const { source } = own.instance()
    await own.apply(`plans: {a: {limits: [{requests: 10, per: 1m}]}, b: {limits: []}}`)
    await asked(source)
    const before = source.current().plans.get('a')
    await own.apply(`plans: {a: {limits: [{requests: 10, per: 1m}]}, c: {limits: []}}`)
    own.clock.pass(5_000)
    expect(await asked(source)).toBe('a,c')
    expect(source.current().plans.get('a')).toBe(before)
  })
})

describe('while the store fails', () => {
  test('a process that never read goes by no file: it refuses, and looks again a second later', async () => {
    const { source, lines } = own.instance(fileOf(plan('file')))
    own.fails(new Error('down'))
    await source.refresh()
    expect(() => source.current()).toThrow(PolicyUnknown)
    expect(source.refresh()).toBeUndefined()
    own.clock.pass(1_000)
    await source.refresh()
    expect(() => source.current()).toThrow(PolicyUnknown)
    expect(lines).toMatchObject([{ event: 'policy not read', level: 'error' }])
    own.fails(undefined)
    own.clock.pass(1_000)
    expect(await asked(source)).toBe('file')
    expect(lines.map(({ event }) => event)).toEqual(['policy not read', 'policy read again'])
  })

  test('the last good one holds, told once, and once when it is over', async () => {
    const { source, lines } = own.instance()
    await own.apply(plan('a'))
    await asked(source)
    own.fails(new Error('down'))
    for (let i = 0; i < 3; i += 1) {
      own.clock.pass(5_000)
      expect(await asked(source)).toBe('a')
    }
    await own.apply(plan('b'))
    own.fails(undefined)
    own.clock.pass(5_000)
    expect(await asked(source)).toBe('b')
    expect(lines.map(({ event }) => event)).toEqual(['policy not read', 'policy read again'])
    expect(own.reads).toHaveLength(5)
  })

  test('that is slow a request waits 500 ms, those after it not at all, and what comes late is gone by', async () => {
    const { source, lines } = own.instance()
    await own.apply(plan('a'))
    await asked(source)
    await own.apply(plan('b'))
    own.clock.pass(5_000)
    const { goesOn, release } = own.holds()
    let isOver = false
    const waiting = asked(source).then((name) => {
      isOver = true
      return name
    })
    await new Promise(setImmediate)
    own.clock.pass(499)
    await new Promise(setImmediate)
    expect(isOver).toBe(false)
    own.clock.pass(1)
    expect(await waiting).toBe('a')
    expect(source.refresh()).toBeUndefined()
    expect(lines).toMatchObject([{ event: 'policy not read' }])
    goesOn()
    release()
    await new Promise(setImmediate)
    expect(await asked(source)).toBe('b')
  })

  test('a look that was given up changes nothing later', async () => {
    const { source } = own.instance()
    await own.apply(plan('a'))
    await asked(source)
    await own.apply(plan('b'))
    own.clock.pass(5_000)
    const { goesOn, release } = own.holds()
    const waiting = source.refresh()
    await new Promise(setImmediate)
    own.clock.pass(4_000)
    await waiting
    goesOn()
    await own.apply(plan('c'))
    own.clock.pass(1_000)
    expect(await asked(source)).toBe('c')
    release()
    await new Promise(setImmediate)
    expect(await asked(source)).toBe('c')
  })

  test('a table that was emptied takes no policy away', async () => {
    const { source } = own.instance()
    await own.apply(plan('a'))
    await asked(source)
    await own.empty()
    own.clock.pass(5_000)
    expect(await asked(source)).toBe('a')
    await own.apply(plan('b'))
    own.clock.pass(5_000)
    expect(await asked(source)).toBe('b')
  })

  test('a defect is no outage: it is thrown', async () => {
    const { source, lines } = own.instance()
    own.fails(new TypeError('x is not a function'))
    await source.refresh()
    expect(() => source.current()).toThrow(TypeError)
    expect(lines).toMatchObject([{ level: 'error', fault: 'TypeError' }])
  })
})

describe('a revision that can’t be used here', () => {
  test('is refused whole, told once with path and fix, and noted; the one before stays', async () => {
    const { source, lines } = own.instance()
    await own.apply(plan('a'))
    await asked(source)
    await own.apply(`${plan('b')}\n${UNSET}`)
    for (let i = 0; i < 3; i += 1) {
      own.clock.pass(5_000)
      expect(await asked(source)).toBe('a')
    }
    expect(lines).toMatchObject([
      {
        event: 'policy refused',
        number: 2,
        message: expect.stringContaining(
          'line 2, models.m.targets[0]: key: the environment variable OPENAI_NOT_SET is not set.',
        ),
      },
    ])
    expect(source.refused()?.message).toContain('OPENAI_NOT_SET')
    const { current } = await own.operator.look()
    expect(current && (await own.operator.refusalOf(current))).toContain('OPENAI_NOT_SET')
    await own.apply(plan('c'))
    own.clock.pass(5_000)
    expect(await asked(source)).toBe('c')
    expect(source.refused()).toBeUndefined()
  })

  test('at a start leaves the last one that can be, as on the instances that run', async () => {
    await own.apply(plan('a'))
    await own.apply(plan('b'))
    await own.apply(plan('never'), true)
    await own.apply(UNSET)
    const { source } = own.instance()
    expect(await asked(source)).toBe('b')
    expect(source.refused()).toBeInstanceOf(OperatorError)
  })

  test('at a start with none before it is thrown', async () => {
    await own.apply(UNSET)
    const { source, lines } = own.instance()
    await source.refresh()
    expect(() => source.current()).toThrow('OPENAI_NOT_SET')
    own.clock.pass(5_000)
    await source.refresh()
    expect(lines.filter(({ event }) => event === 'policy refused')).toHaveLength(1)
  })

  test('as a shadow leaves none', async () => {
    const { source, lines } = own.instance()
    await own.apply(plan('a'))
    await own.apply(UNSET, true)
    expect(await asked(source)).toBe('a')
    expect(source.shadow()).toBeUndefined()
    expect(lines).toMatchObject([{ event: 'policy refused', number: 2 }])
  })
})

describe('a shadow', () => {
  test('stands beside what is in force, comes and goes by itself', async () => {
    const { source, told } = own.instance()
    const shadow = async () => {
      own.clock.pass(5_000)
      await source.refresh()
      return [...(source.shadow()?.plans.keys() ?? [])].join()
    }
    await own.apply(plan('a'))
    expect(await shadow()).toBe('')
    await own.apply(plan('s'), true)
    expect(await shadow()).toBe('s')
    const before = source.shadow()
    expect(await asked(source)).toBe('a')
    await own.apply(plan('b'))
    expect(await shadow()).toBe('s')
    expect(source.shadow()).toBe(before)
    expect(await asked(source)).toBe('b')
    await own.operator.endShadow(await own.operator.look())
    expect(await shadow()).toBe('')
    expect(told.map(({ revision, shadow }) => [revision?.number, shadow?.number])).toEqual([
      [1, undefined],
      [1, 2],
      [3, 2],
      [3, undefined],
    ])
  })
})

describe('the file of a start', () => {
  const history = async () => (await own.operator.history()).map(({ number, from }) => [number, from])

  test('is applied where it is new, and read no more often than once', async () => {
    const { source, told } = own.instance(fileOf(plan('file')))
    expect(await asked(source)).toBe('file')
    expect(await history()).toEqual([[1, 'file']])
    expect(told).toMatchObject([{ revision: { number: 1, source: 'tollgate.policy.yaml' }, fileBefore: undefined }])
    own.reads.length = 0
    await asked(own.instance(fileOf(plan('file'))).source)
    expect(own.reads).toEqual(['head'])
  })

  test('is applied once by two that start at once', async () => {
    const instances = [own.instance(fileOf(plan('file'))), own.instance(fileOf(plan('file')))]
    expect(await Promise.all(instances.map(({ source }) => asked(source)))).toEqual(['file', 'file'])
    expect(await history()).toEqual([[1, 'file']])
  })

  test('goes by it at once where another start has applied it since the head was read', async () => {
    await own.apply(plan('before'))
    const other = own.instance(fileOf(plan('new')))
    const { operator } = own
    const revisions: PolicyRevisions = {
      ...operator,
      async isKept(digest, signal) {
        await asked(other.source)
        return operator.isKept(digest, signal)
      },
    }
    const { source, told } = own.instance(fileOf(plan('new')), { revisions })
    expect(await asked(source)).toBe('new')
    expect(told).toMatchObject([{ revision: { number: 2 }, fileBefore: undefined }])
    expect(await operator.history()).toHaveLength(2)
  })

  test('of two at once with different ones both are applied, one after the other', async () => {
    const instances = [own.instance(fileOf(plan('x'))), own.instance(fileOf(plan('y')))]
    await Promise.all(instances.map(({ source }) => asked(source)))
    expect(await history()).toEqual([
      [2, 'file'],
      [1, 'file'],
    ])
    own.clock.pass(5_000)
    const [x, y] = await Promise.all(instances.map(({ source }) => asked(source)))
    expect(x).toBe(y)
  })

  test('that was in force before changes nothing: yesterday’s is not judged by, not even once', async () => {
    await asked(own.instance(fileOf(plan('yesterday'))).source)
    await own.apply(plan('today'))
    const { source, told } = own.instance(fileOf(plan('yesterday')))
    expect(await asked(source)).toBe('today')
    expect(told).toMatchObject([{ revision: { number: 2 }, fileBefore: { number: 1 } }])
    expect(await history()).toHaveLength(2)
  })

  test('that was only judged before is applied', async () => {
    await own.apply(plan('a'))
    await own.apply(plan('file'), true)
    const { source } = own.instance(fileOf(plan('file')))
    expect(await asked(source)).toBe('file')
    expect(source.shadow()).toBeUndefined()
  })

  test('that is faulty and new leaves what is in force, and is told; with nothing in force it is thrown', async () => {
    await own.apply(plan('a'))
    const { source, lines } = own.instance(fileOf('plan: {}'))
    expect(await asked(source)).toBe('a')
    expect(lines).toMatchObject([{ event: 'policy refused', file: 'tollgate.policy.yaml' }])
    expect(source.refused()?.message).toContain("Did you mean 'plans'?")
    const alone = world().instance(fileOf('plan: {}'))
    await alone.source.refresh()
    expect(() => alone.source.current()).toThrow("Did you mean 'plans'?")
  })

  test('that is faulty and was in force before is of no account', async () => {
    await own.apply(UNSET)
    await own.apply(plan('a'))
    const { source, lines } = own.instance(fileOf(UNSET))
    expect(await asked(source)).toBe('a')
    expect(lines).toEqual([])
    expect(source.refused()).toBeUndefined()
  })

  test('where none is, what is in force stays, and else the defaults hold', async () => {
    const { source, told } = own.instance()
    expect(await asked(source)).toBe('default')
    expect(told).toMatchObject([{ revision: undefined }])
    await own.apply(plan('a'))
    expect(await asked(own.instance().source)).toBe('a')
    own.clock.pass(5_000)
    expect(await asked(source)).toBe('a')
  })

  test('that a person saved after what is in force was applied is applied, whatever it says', async () => {
    await asked(own.instance(fileOf(plan('first'))).source)
    own.clock.pass(60_000)
    await own.apply(plan('second'))
    const start = (savedAt: number) => own.instance(fileOf(plan('first'), savedAt), { appliesSaved: true }).source
    expect(await asked(start(START + 59_000))).toBe('second')
    expect(await asked(start(START + 61_000))).toBe('first')
    expect(await history()).toHaveLength(3)
    expect(await asked(start(START + 61_000))).toBe('first')
    expect(await history()).toHaveLength(3)
  })

  test('that can’t even be read leaves what is in force, and is told; with nothing in force it is thrown', async () => {
    await own.apply(plan('a'))
    const start = { file: undefined, policy: new OperatorError('it is UTF-16') }
    const { source, lines } = own.instance(undefined, { start })
    expect(await asked(source)).toBe('a')
    own.clock.pass(5_000)
    expect(await asked(source)).toBe('a')
    expect(lines).toMatchObject([{ event: 'policy refused', level: 'error' }])
    expect(source.refused()?.message).toBe('it is UTF-16')
    await own.apply(plan('b'))
    own.clock.pass(5_000)
    expect(await asked(source)).toBe('b')
    expect(source.refused()).toBeUndefined()
    const alone = world().instance(undefined, { start })
    await alone.source.refresh()
    expect(() => alone.source.current()).toThrow('it is UTF-16')
  })

  test('that was never in force is told from a history of any length by one read', async () => {
    for (const name of ['a', 'b', 'c']) await own.apply(plan(name))
    expect(await asked(own.instance(fileOf(plan('new'))).source)).toBe('new')
    expect(own.reads).not.toContain('history')
  })

  describe('that a person saves while the app runs', () => {
    /** Edits a file, and asks five seconds later. */
    function edited(first: PolicyFile | undefined) {
      let file = first
      const read = () => {
        try {
          return { file, policy: resolve(file) }
        } catch (error) {
          return { file, policy: error as OperatorError }
        }
      }
      const instance = own.instance(first, { appliesSaved: true, reread: read })
      return {
        ...instance,
        async save(text: string | undefined) {
          own.clock.pass(1)
          file = text === undefined ? undefined : fileOf(text, own.clock.time.wallClock())
          own.clock.pass(5_000)
          return asked(instance.source)
        },
      }
    }

    test('is applied by the next look, back to an earlier text too', async () => {
      const { source, save, told } = edited(fileOf(plan('first')))
      expect(await asked(source)).toBe('first')
      expect(await save(plan('second'))).toBe('second')
      expect(await save(plan('first'))).toBe('first')
      expect(await history()).toEqual([
        [3, 'file'],
        [2, 'file'],
        [1, 'file'],
      ])
      expect(told).toHaveLength(3)
    })

    test('and left alone takes nothing back that was applied since', async () => {
      const { source, save } = edited(fileOf(plan('first')))
      await asked(source)
      await save(plan('second'))
      await own.apply(plan('other'))
      for (let i = 0; i < 2; i += 1) {
        own.clock.pass(5_000)
        expect(await asked(source)).toBe('other')
      }
    })

    test('and that is faulty leaves what is in force, told once, until it is mended', async () => {
      const { source, save, lines } = edited(undefined)
      expect(await asked(source)).toBe('default')
      expect(await save('plan: {}')).toBe('default')
      own.clock.pass(5_000)
      expect(await asked(source)).toBe('default')
      expect(lines).toMatchObject([{ event: 'policy refused' }])
      expect(source.refused()).toBeDefined()
      expect(await save(plan('mended'))).toBe('mended')
      expect(source.refused()).toBeUndefined()
    })

    test('and removes leaves what is in force', async () => {
      const { source, save, lines } = edited(fileOf(plan('first')))
      await asked(source)
      expect(await save(undefined)).toBe('first')
      expect(lines).toEqual([])
    })
  })
})
