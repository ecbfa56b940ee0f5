import { setTimeout as pause } from 'node:timers/promises'
import {
  chatCompletions,
  createGateway,
  type FinishedRequest,
  fixedPolicy,
  fromIterable,
  type HttpResponse,
  isStream,
  issueKey,
  resolvePolicy,
  trace,
} from '@tollgate/middleware'
import { request } from '../../support/base-context.ts'
import { type Expected, FAULTS, type Fault } from './faults.ts'
import { type PlayedTarget, PRICE, startPlayedTarget, type Taken } from './played-target.ts'

/*
 * Each fault of a model's server, plain and streamed, before one target or three, of each kind of target: through the whole gateway,
 * over real connections. What the client got is held against what the targets say themselves.
 */

/** How many targets the model has, and which of them are sick. */
export const SETTINGS = ['one', 'three, the first sick', 'three, all sick'] as const
export type Setting = (typeof SETTINGS)[number]

/** How a target of each kind is written down; `generate` is to come. */
export const KINDS = {
  azure: (origin: string, name: string) => ({ azure: { endpoint: origin, deployment: name, key: { env: 'KEY' } } }),
  openai: (origin: string, name: string) => ({ openai: { baseUrl: `${origin}/v1`, model: name, key: { env: 'KEY' } } }),
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

/** Milliseconds. Long enough that no healthy answer on a busy machine is late, and that each request has time for all of its calls. */
export const DEADLINES = { firstByteMs: 1_500, idleMs: 1_500, totalMs: 5_000, streamTotalMs: 5_000 }
/** Of one request, the first among them: the default of a model's `retry`. */
export const ALL_ATTEMPTS = 3
/** Dollars a day: no cell comes near it. */
const BUDGET_USD = 1

export function cells(kinds: readonly Kind[]): Cell[] {
  return FAULTS.flatMap((fault) =>
    SETTINGS.flatMap((setting) =>
      [false, true].flatMap((streamed) => kinds.map((kind): Cell => ({ fault, streamed, setting, kind }))),
    ),
  )
}

/** So many at a time: most of them wait for a deadline. */
const AT_ONCE = 24

export async function runMatrix(all: readonly Cell[]): Promise<Seen[]> {
  const seen = new Map<Cell, Seen>()
  const left = [...all]
  const run = async () => {
    for (let cell = left.shift(); cell !== undefined; cell = left.shift()) seen.set(cell, await runCell(cell))
  }
  await Promise.all(Array.from({ length: AT_ONCE }, run))
  return all.flatMap((cell) => seen.get(cell) ?? [])
}

export async function runCell(cell: Cell): Promise<Seen> {
  const { fault, setting, streamed } = cell
  const targets = await Promise.all(Array.from({ length: setting === 'one' ? 1 : 3 }, startPlayedTarget))
  const isSick = (index: number) => setting === 'three, all sick' || index === 0
  const places = targets.map(({ origin }, index) => (isSick(index) && fault.place) || origin)
  const client = await openClient(cell, places, targets)
  try {
    if (fault.isKept) for (const each of ['Ready?', 'Steady?']) await client.ask(each)
    for (const [index, target] of targets.entries()) if (isSick(index) && fault.play) target.play = fault.play
    const first = await client.ask('Why?')
    const next = await client.ask('How?')
    return { cell, expected: streamed ? fault.stream : fault.plain, first, next }
  } finally {
    await client.close()
    await Promise.all(targets.map((target) => target.close()))
  }
}

/** Asks a gateway of its own, whose model is served at these places. */
async function openClient({ kind, streamed }: Cell, places: readonly string[], targets: readonly PlayedTarget[]) {
  const placed = places.map((origin, index) => ({ ...KINDS[kind](origin, `played-${index + 1}`), priority: index + 1 }))
  const policy = resolvePolicy(
    {
      plans: { all: { limits: [{ usd: BUDGET_USD, per: 'day' }] } },
      models: { default: { targets: placed, price: PRICE } },
    },
    {
      source: 'the matrix',
      bounds: { env: { KEY: 'k' }, readable: ['KEY'], hosts: ['127.0.0.1', '*.invalid'] },
      defaultTarget: undefined,
    },
  )
  const gateway = createGateway({
    policy: fixedPolicy(policy),
    storage: { kind: 'memory' },
    redis: undefined,
    cacheSecret: undefined,
    maxBodyBytes: 100_000,
    maxOutputTokens: 100,
    storeDeadlineMs: 5_000,
    cacheDeadlineMs: 5_000,
    ...DEADLINES,
    clientId: undefined,
    log: () => {},
  })
  let ended: PromiseWithResolvers<FinishedRequest>
  const entry = trace({
    refuse: chatCompletions.refuse,
    handler: () => gateway.handler(chatCompletions),
    finished: (finished) => ended.resolve(finished),
  })
  const consumer = { consumer: 'a', plan: 'all', defaultPlan: 'all', plans: ['all'], now: Date.now() }
  const { key } = await issueKey(gateway.consumers, consumer)

  const send = (question: string, headers: Readonly<Record<string, string>> = {}) => {
    const messages = [{ role: 'user', content: question }]
    const body = Buffer.from(JSON.stringify({ messages, max_tokens: 20, ...(streamed && { stream: true }) }))
    ended = Promise.withResolvers()
    const sent = { ...request, headers: new Headers({ 'x-api-key': key, ...headers }), body: fromIterable([body]) }
    return entry(sent, () => {})
  }
  /** What would become of it, which takes nothing. */
  const look = async (question: string) =>
    JSON.parse(await textOf(await send(question, DRY)).then(({ text }) => text)) as Looked

  async function ask(question: string): Promise<Outcome> {
    for (const { calls } of targets) calls.length = 0
    const before = await look(question)
    const started = performance.now()
    const response = await send(question)
    const { text, isBroken } = await textOf(response)
    const { facts } = await ended.promise
    const ms = performance.now() - started
    const after = await look(`${question} Or else?`)
    const { status, headers } = response
    const retryAfterMs = headers['retry-after-ms']
    return {
      status,
      code: codeIn(text),
      retryAfterMs: retryAfterMs === undefined ? undefined : Number(retryAfterMs),
      answer: status !== 200 ? 'none' : isBroken ? 'broken' : 'whole',
      calls: targets.map(({ calls }) => [...calls]),
      attempts: attemptsAt(facts.attempts ?? [], policy.models.get('default')?.targets ?? []),
      charged: leftIn(before) - leftIn(after),
      reserved: before.worst?.nano_usd ?? 0,
      stored: (await look(question)).cache === 'hit',
      open: await openIn(targets),
      ms,
    }
  }

  return { ask, close: () => gateway.close() }
}

const DRY = { 'x-tollgate-dry-run': 'true' }

/** Of a dry run's answer. */
interface Looked {
  readonly cache: 'hit' | 'miss' | 'bypass'
  readonly worst: { readonly nano_usd: number } | null
  readonly limits: readonly { readonly counts: string; readonly left: number }[]
}

function leftIn({ limits }: Looked): number {
  const money = limits.find(({ counts }) => counts === 'nano_usd')
  if (money === undefined) throw new Error('The dry run tells of no limit on money')
  return money.left
}

/** An answer as far as it comes. */
async function textOf({ body }: HttpResponse): Promise<{ readonly text: string; readonly isBroken: boolean }> {
  if (body === null || !isStream(body)) return { text: Buffer.from(body ?? []).toString(), isBroken: false }
  let text = ''
  try {
    for (let piece = await body.read(); piece !== undefined; piece = await body.read()) text += Buffer.from(piece)
    return { text, isBroken: !text.includes('data: [DONE]') }
  } catch {
    return { text, isBroken: true }
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
