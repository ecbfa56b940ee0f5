import { setTimeout as pause } from 'node:timers/promises'
import { type Client, type Deadlines, LONG, openClient } from './client.ts'
import { type Expected, FAULTS, type Fault } from './faults.ts'
import { type PlayedTarget, PRICE, startPlayedTarget, type Taken } from './played-target.ts'

/*
 * Each fault of a model's server, plain and streamed, before one target or three, of each kind of target: through the whole gateway,
 * over real connections. What the client got is held against what the targets say themselves.
 */

/** How many targets the model has, and which of them are sick. */
export const SETTINGS = ['one', 'three, the first sick', 'three, all sick'] as const
export type Setting = (typeof SETTINGS)[number]

/** How a target of each kind is written down. */
export const KINDS = {
  azure: (origin: string, name: string) => ({ azure: { endpoint: origin, deployment: name, key: { env: 'KEY' } } }),
  openai: (origin: string, name: string) => ({ openai: { baseUrl: `${origin}/v1`, model: name, key: { env: 'KEY' } } }),
  generate: (origin: string, name: string) => ({
    generate: { url: `${origin}/api/generate`, model: name, key: { env: 'KEY' }, streams: true },
  }),
} as const
export type Kind = keyof typeof KINDS
export const KIND_NAMES = Object.keys(KINDS) as Kind[]

export interface Cell {
  readonly fault: Fault
  readonly streamed: boolean
  readonly setting: Setting
  readonly kind: Kind
}

/** What one request came to. */
export interface Outcome {
  readonly status: number
  /** Of a refusal, or of the event that says that a stream has broken. */
  readonly code: string | undefined
  /** Milliseconds. */
  readonly retryAfterMs: number | undefined
  /** Whether the client got an answer to its end, a part of one, or none. */
  readonly answer: 'whole' | 'broken' | 'none'
  /** What each target made of each call that arrived there. */
  readonly calls: readonly (readonly Taken[])[]
  /** Calls that the gateway says that it has made, to each target by its number. */
  readonly attempts: readonly number[]
  /** By the limit's own count, in nano-dollars. */
  readonly charged: number
  /** What was reserved for one call, in nano-dollars. */
  readonly reserved: number
  /** Whether the same question is answered from the cache now. */
  readonly stored: boolean
  /** Calls that targets were still busy with when the client had its answer, or what there was of it. */
  readonly open: number
  readonly ms: number
}

export interface Seen {
  readonly cell: Cell
  readonly expected: Expected
  readonly first: Outcome
  /** Another question, asked right after it. */
  readonly next: Outcome
}

/** Of one request, the first among them: the default of a model's `retry`. */
export const ALL_ATTEMPTS = 3

export function cells(kinds: readonly Kind[]): Cell[] {
  return FAULTS.flatMap((fault) =>
    SETTINGS.flatMap((setting) =>
      [false, true].flatMap((streamed) => kinds.map((kind): Cell => ({ fault, streamed, setting, kind }))),
    ),
  )
}

/** Of faults that a deadline ends: all calls of a request, with the longest pauses between them, have more time than they take. */
const SHORT: Deadlines = { firstByteMs: 1_250, idleMs: 1_250, totalMs: 6_000, streamTotalMs: 6_000 }

export function deadlinesOf({ isSlow }: Fault): Deadlines {
  return isSlow ? SHORT : LONG
}

/** So many at a time: those that wait for a deadline take no work, and are not to be late for the work of others. */
const AT_ONCE = { slow: 36, others: 8 }

export async function runMatrix(all: readonly Cell[]): Promise<Seen[]> {
  const seen = new Map<Cell, Seen>()
  const runSome = async (some: Cell[], atOnce: number) => {
    const run = async () => {
      for (let cell = some.shift(); cell !== undefined; cell = some.shift()) seen.set(cell, await runCell(cell))
    }
    await Promise.all(Array.from({ length: atOnce }, run))
  }
  await runSome(
    all.filter(({ fault }) => fault.isSlow),
    AT_ONCE.slow,
  )
  await runSome(
    all.filter(({ fault }) => !fault.isSlow),
    AT_ONCE.others,
  )
  return all.flatMap((cell) => seen.get(cell) ?? [])
}

export async function runCell(cell: Cell): Promise<Seen> {
  const { fault, setting, streamed } = cell
  const targets = await Promise.all(Array.from({ length: setting === 'one' ? 1 : 3 }, startPlayedTarget))
  const isSick = (index: number) => setting === 'three, all sick' || index === 0
  const places = targets.map(({ origin }, index) => (isSick(index) && fault.place) || origin)
  const placed = places.map((place, index) => ({
    ...KINDS[cell.kind](place, `played-${index + 1}`),
    priority: index + 1,
  }))
  const client = await openClient({ default: { targets: placed, price: PRICE } }, deadlinesOf(fault))
  const ask = (question: string) => outcomeOf(client, { question, streamed, targets })
  try {
    if (fault.isKept) for (const each of ['Ready?', 'Steady?']) await ask(each)
    for (const [index, target] of targets.entries()) if (isSick(index) && fault.play) target.play = fault.play
    const first = await ask('Why?')
    const next = await ask('How?')
    return { cell, expected: streamed ? fault.stream : fault.plain, first, next }
  } finally {
    await client.close()
    await Promise.all(targets.map((target) => target.close()))
  }
}

/** Another question costs as much, and is not in the cache. */
const OTHER = 'Who?'

async function outcomeOf(
  client: Client,
  { question, streamed, targets }: { question: string; streamed: boolean; targets: readonly PlayedTarget[] },
): Promise<Outcome> {
  for (const { calls } of targets) calls.length = 0
  const before = await client.look(OTHER, streamed)
  const { status, headers, text, isBroken, facts, ms } = await client.ask(question, streamed)
  const after = await client.look(OTHER, streamed)
  const retryAfterMs = headers['retry-after-ms']
  return {
    status,
    code: codeIn(text),
    retryAfterMs: retryAfterMs === undefined ? undefined : Number(retryAfterMs),
    answer: status !== 200 ? 'none' : isBroken ? 'broken' : 'whole',
    calls: targets.map(({ calls }) => [...calls]),
    attempts: attemptsAt(facts.attempts ?? [], client.policy.models.get('default')?.targets ?? []),
    charged: before.left - after.left,
    reserved: before.reserved,
    stored: (await client.look(question, streamed)).cache === 'hit',
    open: await openIn(targets),
    ms,
  }
}

/** Of an error in OpenAI's form, or of the event of one. */
function codeIn(text: string): string | undefined {
  const [, error] = /^(?:data: )?(\{"error":.*\})\s*$/m.exec(text) ?? []
  return error === undefined ? undefined : (JSON.parse(error) as { error: { code: string } }).error.code
}

/** A call that is ended is seen by its target a moment later. */
async function openIn(targets: readonly PlayedTarget[]): Promise<number> {
  const open = () => targets.reduce((sum, target) => sum + target.open, 0)
  for (let waited = 0; open() > 0 && waited < 100; waited += 1) await pause(10)
  return open()
}

function attemptsAt(attempts: readonly { readonly target: string }[], targets: readonly { readonly id: string }[]) {
  return targets.map(({ id }) => attempts.filter(({ target }) => target === id).length)
}
