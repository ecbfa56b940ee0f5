import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as pause } from 'node:timers/promises'
import { openTables, storageLocation } from '@tollgate/middleware'
import { random } from '../../simulator/random.ts'
import { newKey, unique } from '../../support/consumers.ts'
import { BARE_HOST, type RunningHost, startHost } from '../../support/host.ts'
import { residentBytes } from '../../support/resident-memory.ts'
import { FAULTS } from '../resilience/faults.ts'
import {
  type ArrivedCall,
  BILL,
  HEALTHY,
  type Play,
  type PlayedTarget,
  PRICE,
  startPlayedTarget,
  type Taken,
} from '../resilience/played-target.ts'

/*
 * A host under steady load, before targets of which each fifth call fails in some way, and callers of whom some leave. At its end
 * what it has charged is held against what the targets have counted by themselves, request by request, and its memory against what it
 * was when it had warmed up.
 */

export interface SoakOptions {
  /** Connection string of the tables. */
  readonly storage: string
  readonly seconds: number
  /** Requests a second. */
  readonly rate?: number
  readonly seed?: number
  /** Told once a while how it goes. */
  readonly onProgress?: (text: string) => void
}

export interface Soaked {
  readonly requests: number
  readonly answered: number
  readonly refused: number
  readonly broken: number
  readonly left: number
  /** That arrived at targets. */
  readonly calls: number
  /** What the targets have counted of calls that told what they took, and what the host says of the same requests: dollars and tokens. */
  readonly counted: { readonly nanoUsd: number; readonly tokens: number }
  readonly charged: { readonly nanoUsd: number; readonly tokens: number }
  /** What all requests were charged: by their lines, by the budgets, by the ledger; in nano-dollars. */
  readonly totals: { readonly lines: number; readonly budgets: number; readonly ledger: number }
  readonly violations: readonly string[]
  /** Resident bytes of the host: after three tenths of the time, and at the end. */
  readonly resident: { readonly before: number; readonly after: number }
}

const TARGETS = 3
const CONSUMERS = 4
const RATE = 40
const FAULTY = 0.2
const LEAVING = 0.05
const BUDGET_USD = 100
/** The share of the time after which it has warmed up: three minutes of ten. */
const WARM = 0.3
/** So long a mean of the memory is taken over, in milliseconds, or a tenth of the time where that is less. */
const MEAN_MS = 30_000
/** No healthy answer comes near them, on however busy a machine: a target that has told of an answer must have been heard. */
const DEADLINES = {
  TOLLGATE_FIRST_BYTE_MS: '5000',
  TOLLGATE_TOTAL_MS: '8000',
  TOLLGATE_IDLE_MS: '5000',
  TOLLGATE_STREAM_TOTAL_MS: '8000',
}
/** Not those that need a place or a connection of their own, and not the largest, which would be most of the load. */
const PLAYED = FAULTS.filter(({ name, play, isKept }) => play !== undefined && !isKept && !name.includes('40 MiB'))
/** By which a target is left alone for seconds: so few of the faults that some target can mostly be asked. */
const BLOCKS = PLAYED.filter(({ plain }) => plain.waitMs !== undefined)
const PASSING = PLAYED.filter(({ plain }) => plain.waitMs === undefined)
const BLOCKING = 0.01

/** What its line says of a request. */
interface Line {
  readonly requestId: string
  readonly status: number
  readonly costNanoUsd?: number
  readonly usage?: { readonly input: number; readonly output: number }
  readonly uncertain?: true
  readonly attempts?: number
}

interface Sent {
  readonly consumer: string
  readonly streamed: boolean
  outcome: 'answered' | 'refused' | 'broken' | 'left'
}

export async function soak({
  storage,
  seconds,
  rate = RATE,
  seed = 1,
  onProgress = () => {},
}: SoakOptions): Promise<Soaked> {
  const dice = random(seed)
  const folder = mkdtempSync(join(tmpdir(), 'tollgate-soak-'))
  const targets = await Promise.all(Array.from({ length: TARGETS }, startPlayedTarget))
  const calls = new Map<string, Play[]>()
  for (const target of targets) target.play = (call) => noted(call, dice.chance(FAULTY) ? faultFor(call) : HEALTHY)
  const faultFor = (call: ArrivedCall): Play =>
    dice.pick(dice.chance(BLOCKING) ? BLOCKS : PASSING).play?.(call) ?? HEALTHY
  const noted = (call: ArrivedCall, play: Play): Play => {
    const own = calls.get(call.requestId) ?? []
    calls.set(call.requestId, own)
    own.push(play)
    return play
  }
  let host: RunningHost | undefined
  try {
    host = await startHost({ ...DEADLINES, ...settingsOf(folder, storage, targets) }, BARE_HOST)
    const { url } = host
    const lines = linesOf(host)
    const location = storageLocation({ TOLLGATE_STORAGE: storage })
    if (location === undefined || location.kind === 'memory') throw new Error('A soak needs tables')
    const open = openTables(location)
    const consumers = await Promise.all(
      Array.from({ length: CONSUMERS }, async () => {
        const consumer = unique('soak')
        return { consumer, key: await newKey(open, consumer, 'all') }
      }),
    )
    const readingKey = await newKey(open, unique('soak-reader'), 'all', ['read'])
    const reserved = {
      plain: await worstOf(url, consumers[0]?.key ?? '', false),
      streamed: await worstOf(url, consumers[0]?.key ?? '', true),
    }
    const resident: { readonly at: number; readonly bytes: number }[] = []
    const sent = new Map<string, Sent>()
    const startedAt = Date.now()
    const started = performance.now()
    const elapsed = () => performance.now() - started
    const underWay = new Set<Promise<void>>()
    let count = 0
    let told = 0
    while (elapsed() < seconds * 1_000) {
      if (elapsed() * rate < count * 1_000) {
        await pause(5)
        continue
      }
      count += 1
      const { consumer, key } = dice.pick(consumers)
      const streamed = dice.chance(0.5)
      const requestId = unique('soak-request')
      const its: Sent = { consumer, streamed, outcome: 'refused' }
      sent.set(requestId, its)
      const leaveMs = dice.chance(LEAVING) ? dice.between(1, 60) : undefined
      const asking = ask(url, { key, requestId, streamed, leaveMs }).then((outcome) => {
        its.outcome = outcome
        underWay.delete(asking)
      })
      underWay.add(asking)
      const last = resident.at(-1)
      if (last === undefined || elapsed() - last.at >= 1_000) {
        resident.push({ at: elapsed(), bytes: residentBytes(host.process.pid ?? 0) })
        if (elapsed() - told >= 30_000) {
          told = elapsed()
          onProgress(
            `${Math.round(told / 1_000)} s: ${count} requests, ${mebibytes(resident.at(-1)?.bytes ?? 0)} resident`,
          )
        }
      }
    }
    await Promise.all(underWay)
    await until(() => lines.size >= sent.size, 3_000)
    return await reckon({
      sent,
      lines,
      calls,
      reserved,
      targets,
      url,
      consumers,
      readingKey,
      resident,
      seconds,
      startedAt,
    })
  } finally {
    await host?.stop()
    await Promise.all(targets.map((target) => target.close()))
    rmSync(folder, { recursive: true, force: true })
  }
}

function settingsOf(folder: string, storage: string, targets: readonly PlayedTarget[]): Record<string, string> {
  const policy = join(folder, 'tollgate.policy.yaml')
  const placed = targets.map(({ origin }, index) => ({
    openai: { baseUrl: `${origin}/v1`, model: `played-${index + 1}`, key: { env: 'OPENAI_API_KEY' } },
    priority: index === TARGETS - 1 ? 2 : 1,
  }))
  writeFileSync(
    policy,
    // JSON is YAML.
    JSON.stringify({
      plans: { all: { limits: [{ usd: BUDGET_USD, per: 'day' }, { concurrent: CONCURRENT }] } },
      // What is stored would fill its own bounded memory first, for longer than a run lasts.
      routes: { chat: { cache: false } },
      models: { default: { targets: placed, price: PRICE, retry: { attempts: 3, budget: '10%' } } },
    }),
  )
  return {
    TOLLGATE_STORAGE: storage,
    TOLLGATE_POLICY: policy,
    TOLLGATE_TARGET_HOSTS: '127.0.0.1',
    OPENAI_API_KEY: 'k',
    TOLLGATE_STORE_DEADLINE_MS: '10000',
  }
}

const CONCURRENT = 500

/** The lines of requests, as they are printed. */
function linesOf({ process }: RunningHost): ReadonlyMap<string, Line> {
  const lines = new Map<string, Line>()
  if (process.stdout === null) throw new Error('The host prints nothing')
  createInterface({ input: process.stdout }).on('line', (text) => {
    const [json] = /\{.*"event":"request".*\}/.exec(text) ?? []
    if (json === undefined) return
    const { requestId, status, costNanoUsd, usage, uncertain, attempts, dryRun } = JSON.parse(json)
    if (!dryRun) lines.set(requestId, { requestId, status, costNanoUsd, usage, uncertain, attempts })
  })
  return lines
}

interface Request {
  readonly key: string
  readonly requestId: string
  readonly streamed: boolean
  readonly leaveMs: number | undefined
}

async function ask(url: string, { key, requestId, streamed, leaveMs }: Request): Promise<Sent['outcome']> {
  const leaving = new AbortController()
  const timer = leaveMs === undefined ? undefined : setTimeout(() => leaving.abort(), leaveMs)
  try {
    const response = await post(url, { key, requestId, streamed }, leaving.signal)
    const text = await response.text()
    if (response.status !== 200) return 'refused'
    return !streamed || text.includes('data: [DONE]') ? 'answered' : 'broken'
  } catch {
    return leaving.signal.aborted ? 'left' : 'broken'
  } finally {
    clearTimeout(timer)
  }
}

/** Each says something else, in as many bytes. */
function post(
  url: string,
  { key, requestId, streamed, dry }: Omit<Request, 'leaveMs'> & { readonly dry?: true },
  signal: AbortSignal,
): Promise<Response> {
  const content = `Why ${requestId.padEnd(60, '.').slice(-60)}?`
  return fetch(`${url}/api/v1/chat/completions`, {
    method: 'POST',
    headers: {
      authorization: `Bearer ${key}`,
      'content-type': 'application/json',
      'x-request-id': requestId,
      ...(dry && { 'x-tollgate-dry-run': 'true' }),
    },
    body: JSON.stringify({ messages: [{ role: 'user', content }], max_tokens: 20, ...(streamed && { stream: true }) }),
    signal,
  })
}

interface Looked {
  readonly worst: { readonly nano_usd: number; readonly input_tokens: number; readonly output_tokens: number }
  readonly limits: readonly { readonly counts: string; readonly of: number; readonly left: number }[]
}

async function look(url: string, key: string, streamed: boolean): Promise<Looked> {
  const asked = { key, requestId: unique('soak-look'), streamed, dry: true } as const
  return (await post(url, asked, AbortSignal.timeout(10_000))).json() as Promise<Looked>
}

/** What is reserved for one call. */
async function worstOf(url: string, key: string, streamed: boolean): Promise<Looked['worst']> {
  return (await look(url, key, streamed)).worst
}

interface Reckoning {
  readonly sent: ReadonlyMap<string, Sent>
  readonly lines: ReadonlyMap<string, Line>
  readonly calls: ReadonlyMap<string, readonly Play[]>
  readonly reserved: Readonly<Record<'plain' | 'streamed', Looked['worst']>>
  readonly targets: readonly PlayedTarget[]
  readonly url: string
  readonly consumers: readonly { readonly consumer: string; readonly key: string }[]
  readonly readingKey: string
  readonly resident: readonly { readonly at: number; readonly bytes: number }[]
  readonly seconds: number
  readonly startedAt: number
}

async function reckon(all: Reckoning): Promise<Soaked> {
  const { sent, lines, calls, reserved, url, consumers, resident, seconds } = all
  const violations: string[] = []
  const violate = (what: string) => {
    if (violations.length < 50) violations.push(what)
  }
  const counted = { nanoUsd: 0, tokens: 0 }
  const charged = { nanoUsd: 0, tokens: 0 }
  const outcomes = { answered: 0, refused: 0, broken: 0, left: 0 }
  let unseen = 0
  let arrived = 0
  let linesTotal = 0
  for (const [requestId, { streamed, outcome }] of sent) {
    outcomes[outcome] += 1
    const line = lines.get(requestId)
    if (line === undefined) {
      // It may have left before the host had it.
      if (outcome === 'left' && !calls.has(requestId)) unseen += 1
      else violate(`${requestId} has no line`)
      continue
    }
    const plays = calls.get(requestId) ?? []
    const own = plays.map(({ taken }) => taken)
    arrived += own.length
    const { nano_usd, input_tokens, output_tokens } = reserved[streamed ? 'streamed' : 'plain']
    const cost = line.costNanoUsd ?? 0
    linesTotal += cost
    const tokens = (line.usage?.input ?? 0) + (line.usage?.output ?? 0)
    const count = (taken: Taken) => own.filter((each) => each === taken).length
    const [tolds, untolds] = [count('told'), count('untold')]
    if (outcome === 'left') {
      // What was under way when it left may count in full; which of its calls that was, nobody can say.
      if (cost > own.length * nano_usd) violate(`${requestId} left, and was charged ${cost} for ${own.join(', ')}`)
      if (cost < tolds * BILL && line.status !== 200)
        violate(`${requestId} left, and was charged ${cost} for ${own.join(', ')}`)
      continue
    }
    counted.nanoUsd += tolds * BILL + untolds * nano_usd
    counted.tokens += tolds * TOKENS + untolds * (input_tokens + output_tokens)
    charged.nanoUsd += cost
    charged.tokens += tokens
    const due = tolds * BILL + untolds * nano_usd
    if (cost !== due)
      violate(`${requestId} (${outcome}, ${line.status}) was charged ${cost} for ${due}: ${own.join(', ')}`)
    const attempts = line.attempts ?? (own.length === 0 ? 0 : 1)
    const arrivals = plays.filter(({ isResent = false }) => !isResent).length
    if (attempts < arrivals) violate(`${requestId} says ${attempts} attempts, and ${arrivals} calls arrived`)
  }
  const budgets = await budgetsTotal(url, consumers, violate)
  const seen = sent.size - unseen
  const ledger = await ledgerTotal(all, linesTotal, seen - outcomes.left)
  if (budgets !== linesTotal) violate(`the budgets have counted ${budgets}, and the lines ${linesTotal}`)
  if (ledger.nanoUsd !== linesTotal) violate(`the ledger has ${ledger.nanoUsd}, and the lines ${linesTotal}`)
  // Who leaves before its key was looked up is nobody's.
  if (ledger.requests > seen || ledger.requests < seen - outcomes.left)
    violate(`the ledger has ${ledger.requests} requests of ${seen}`)
  const open = () => all.targets.reduce((sum, target) => sum + target.open, 0)
  await until(() => open() === 0, 5_000)
  if (open() > 0) violate(`${open()} calls go on that nobody waits for`)
  const meanMs = Math.min(MEAN_MS, (seconds * 1_000) / 10)
  const meanFrom = (from: number) => {
    const taken = resident.filter(({ at }) => at >= from && at < from + meanMs)
    return taken.reduce((sum, { bytes }) => sum + bytes, 0) / taken.length
  }
  return {
    requests: sent.size,
    ...outcomes,
    calls: arrived,
    counted,
    charged,
    totals: { lines: linesTotal, budgets, ledger: ledger.nanoUsd },
    violations,
    resident: { before: meanFrom(seconds * 1_000 * WARM), after: meanFrom(seconds * 1_000 - meanMs) },
  }
}

/** Of a call that is answered. */
const TOKENS = 18

/** What the consumers' budgets have counted; what is still reserved counts too, and so would show. */
async function budgetsTotal(
  url: string,
  consumers: Reckoning['consumers'],
  violate: (what: string) => void,
): Promise<number> {
  let total = 0
  for (const { consumer, key } of consumers) {
    const { limits } = await look(url, key, false)
    for (const { counts, of, left } of limits) {
      if (counts === 'nano_usd') total += of - left
      if (counts === 'concurrency' && left !== of) violate(`${consumer} has ${left} of ${of} slots`)
    }
  }
  return total
}

/** What the ledger has by now, once all of it is written down. */
async function ledgerTotal({ url, consumers, readingKey, startedAt }: Reckoning, nanoUsd: number, requests: number) {
  const names = new Set(consumers.map(({ consumer }) => consumer))
  const read = async () => {
    const asked = new URLSearchParams({ by: 'consumer', since: new Date(startedAt).toISOString() })
    const response = await fetch(`${url}/api/usage?${asked}`, { headers: { authorization: `Bearer ${readingKey}` } })
    if (response.status !== 200) throw new Error(`The ledger is not told: ${await response.text()}`)
    const { rows } = (await response.json()) as { rows: { name: string; costNanoUsd: number; requests: number }[] }
    const found = { nanoUsd: 0, requests: 0 }
    for (const { name, costNanoUsd, requests } of rows) {
      if (!names.has(name)) continue
      found.nanoUsd += costNanoUsd
      found.requests += requests
    }
    return found
  }
  let found = await read()
  for (let waited = 0; waited < 15 && (found.nanoUsd !== nanoUsd || found.requests < requests); waited += 1) {
    await pause(2_000)
    found = await read()
  }
  return found
}

async function until(holds: () => boolean, ms: number): Promise<void> {
  for (let waited = 0; !holds() && waited < ms; waited += 50) await pause(50)
}

export function mebibytes(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(1)} MiB`
}
