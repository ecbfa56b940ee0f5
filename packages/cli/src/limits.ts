import { beginLimitsAnew, showLimits, type ToldLimit } from '@tollgate/middleware'
import { columns } from './columns.ts'
import { count, duration, exactDollars, utc } from './figures.ts'
import { idOf } from './keys.ts'
import { managing } from './managing.ts'
import type { Place } from './place.ts'
import { onOneLine } from './printable.ts'

/** Whose limits are meant: one of these is to be given. */
interface WhoseLimits {
  readonly consumer?: string
  readonly plan?: string
  readonly global?: boolean
}

export interface LimitsResetOptions extends WhoseLimits {
  /** A group's name and a value in it: `cost-centre=4711`. */
  readonly group?: string
  /** A key's id, or the key itself. */
  readonly key?: string
  /** A limit's name, as refusals and headers say it. */
  readonly limit?: string
}

export interface LimitsShowOptions extends WhoseLimits {
  /** A key's id. */
  readonly key?: string
  /** A group and its value, such as `cost-centre=4711`. */
  readonly group?: string
  readonly json?: boolean
}

/** Lets the limits of a subject, or one of them, begin anew. */
export async function resetLimitsOf(options: LimitsResetOptions, place: Place): Promise<string> {
  const { consumer, plan, group, global, limit } = options
  const key = options.key === undefined ? undefined : idOf(options.key)
  const meant = { consumer, key, plan, group, global: global ? (true as const) : undefined, limit }
  const { output } = await managing(beginLimitsAnew, meant, place)
  return `Reset: ${output.what}. Every instance goes by it within 10 seconds.`
}

/** Where limits stand: all that hold for a consumer or a key, or those that a plan's consumers, or everybody, share. */
export async function showLimitsOf({ json, ...whose }: LimitsShowOptions, place: Place): Promise<string> {
  const { global, ...others } = whose
  const asked = { ...others, ...(global && { global: true }) }
  const { output, storage } = await managing(showLimits, asked, place)
  if (json) return JSON.stringify(output)
  const { at, limits } = output
  if (limits.length === 0) return `The policy has no such limits.\n\nStorage: ${storage}`
  return [limitTable(limits), ...notes(limits), `As of ${utc(Date.parse(at))}.`, `Storage: ${storage}`].join('\n\n')
}

function limitTable(limits: readonly ToldLimit[]): string {
  return columns([
    ['WHOSE', 'LIMIT', 'SIZE', 'USED', 'HELD', 'LEFT', 'THEN'],
    ...limits.map((limit) => [
      onOneLine(limit.subject),
      onOneLine(limit.limit),
      sizeText(limit),
      ...[limit.used, limit.held, limit.left].map((units) => unitsText(limit, units)),
      thenText(limit),
    ]),
  ])
}

function sizeText({ of, most, window, ...limit }: ToldLimit): string {
  const size = unitsText(limit, of)
  if (window === null) return `${size} at once`
  if (window.kind === 'calendar') return `${size} a ${window.per}`
  const atOnce = most === of ? '' : `, ${unitsText(limit, most)} at once`
  return `${size} per ${periodText(window.seconds)}${atOnce}`
}

/** As a policy says it. */
function periodText(seconds: number): string {
  const [size, unit] = [[86_400, 'd'] as const, [3_600, 'h'] as const, [60, 'm'] as const].find(
    ([length]) => seconds % length === 0,
  ) ?? [1, 's']
  return `${seconds / size}${unit}`
}

function unitsText({ counts }: Pick<ToldLimit, 'counts'>, units: number | null): string {
  if (units === null) return '?'
  return counts === 'nanoUsd' ? exactDollars(units) : count(units)
}

/** A budget begins anew at a moment that anybody can foretell; of a bucket a person wants to know how long it takes. */
function thenText({ window, state, resetsAt, resetsInSeconds }: ToldLimit): string {
  if (state !== 'counted' && state !== 'uncounted') return state
  if (resetsAt === null || resetsInSeconds === null) return window === null ? '' : 'full'
  if (window?.kind === 'calendar') return `anew at ${utc(Date.parse(resetsAt))}`
  return `full again in ${duration(resetsInSeconds * 1_000)}`
}

const STATES: Readonly<Record<ToldLimit['state'], string | undefined>> = {
  counted: undefined,
  uncounted: undefined,
  missing:
    'missing: the counters have no row, and the ledger shows that requests took of it in this window. The row was removed, and ' +
    'instances that have seen it make it anew; or the limit is younger than those requests.',
  unreadable:
    'unreadable: the row in tollgatecounters is damaged, and requests are refused with 503 until it is mended. To begin anew: delete the ' +
    'row, or restore it.',
  unavailable: 'unavailable: the store of the counters did not answer. See: npm run tollgate -- doctor',
}

function notes(limits: readonly ToldLimit[]): string[] {
  const states = new Set(limits.map(({ state }) => state))
  return [
    'USED is spent; HELD is with instances, leased, reserved or in flight, and what is not spent of it comes back; LEFT is free for all.',
    ...[...states].flatMap((state) => STATES[state] ?? []),
  ]
}
