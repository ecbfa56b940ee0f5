import { isDeepStrictEqual } from 'node:util'
import { pathText } from './document.ts'
import { durationMs } from './duration.ts'
import { documentOf, type PolicyText } from './file.ts'

/** A place at which two policies differ. */
export interface PolicyChange {
  /** As faults name places: `plans.free.limits (requests per 1m)`. */
  readonly path: string
  /** As JSON, shortened; `undefined` where there is nothing. */
  readonly before: string | undefined
  readonly after: string | undefined
  /** The line, from 1, in the later text; in the earlier one for what is gone. */
  readonly line: number | undefined
  /** What becomes of what was counted, and of callers, where that isn't plain. */
  readonly effect: string | undefined
}

const LONGEST = 160

/**
 * What differs between two policies by their fields, whatever the order and spelling, in the order of the later text. Lists of limits
 * are compared by what each limit counts, and issuers by their names.
 *
 * @param before `undefined` for the defaults
 * @throws PolicyError for a text that is no YAML or JSON
 */
export function policyChanges(before: PolicyText | undefined, after: PolicyText): readonly PolicyChange[] {
  const from = before && documentOf(before)
  const to = documentOf(after)
  const changes: PolicyChange[] = []

  /** @param beside the names that stood beside it before */
  function walk(path: readonly PropertyKey[], a: Placed, b: Placed, beside: readonly PropertyKey[] = []): void {
    if (isDeepStrictEqual(a.value, b.value)) return
    const [entriesA, entriesB] = [entriesOf(path, a), entriesOf(path, b)]
    if (entriesA !== undefined && entriesB !== undefined && isWalked(path, a, b)) {
      for (const name of new Set([...entriesB.keys(), ...entriesA.keys()])) {
        walk([...path, name], entriesA.get(name) ?? NOTHING, entriesB.get(name) ?? NOTHING, [...entriesA.keys()])
      }
      return
    }
    const document = b.value === undefined ? from : to
    changes.push({
      path: shownPath(path),
      before: shown(a.value),
      after: shown(b.value),
      line: document?.lineOf?.(pathText(b.value === undefined ? a.at : b.at)),
      effect: effectOf(path, a.value, b.value, beside),
    })
  }

  walk([], { value: from?.value ?? {}, at: [] }, { value: to.value, at: [] })
  return changes
}

/** A value, and where it stands in its document. */
interface Placed {
  readonly value: unknown
  readonly at: readonly PropertyKey[]
}

const NOTHING: Placed = { value: undefined, at: [] }

/** Fields whose entries are changes of their own, also where all of them are new: a plan, a model, a route, a limit. */
const OF_NAMED = /^(?:plans|models|routes|global|identity|groups)$/

function isWalked(path: readonly PropertyKey[], a: Placed, b: Placed): boolean {
  const last = String(path.at(-1) ?? '')
  if (last.startsWith('(')) return false
  if (a.value !== undefined && b.value !== undefined) return true
  return last === 'limits' || (path.length === 1 && OF_NAMED.test(last))
}

/** The parts of a map, or of a list whose entries are told apart by more than their place; `undefined` for all else. */
function entriesOf(path: readonly PropertyKey[], { value, at }: Placed): ReadonlyMap<PropertyKey, Placed> | undefined {
  if (value === undefined) return new Map()
  if (typeof value !== 'object' || value === null) return undefined
  const names = Array.isArray(value) ? namesIn(path, value) : Object.keys(value)
  if (names === undefined || new Set(names).size < names.length) return undefined
  const keys = Array.isArray(value) ? names.map((_name, index) => index) : names
  return new Map(
    names.map((name, n) => {
      const key = keys[n] as PropertyKey
      return [name, { value: (value as Record<PropertyKey, unknown>)[key], at: [...at, key] }]
    }),
  )
}

function namesIn(path: readonly PropertyKey[], list: readonly unknown[]): readonly PropertyKey[] | undefined {
  const field = path.at(-1)
  if (field === 'limits') return list.map(countedBy)
  if (field !== 'issuers') return undefined
  return list.map((each, index) => String((each as { readonly name?: unknown } | null)?.name ?? index))
}

/** What a limit counts, and over which period: its identity in the counters. */
function countedBy(limit: unknown): string {
  const { requests, tokens, usd, concurrent, per, count, model } = (limit ?? {}) as Readonly<Record<string, unknown>>
  const what =
    requests !== undefined
      ? 'requests'
      : tokens !== undefined
        ? count === 'input' || count === 'output'
          ? `${count} tokens`
          : 'tokens'
        : usd !== undefined
          ? 'usd'
          : concurrent !== undefined
            ? 'concurrent'
            : 'limit'
  const period = per === undefined ? '' : ` per ${WINDOW.test(String(per)) ? per : spanText(String(per))}`
  return `(${what}${period}${model === undefined ? '' : ` of ${model}`})`
}

const WINDOW = /^(?:minute|hour|day|month)$/

/** `60s` and `1m` are one period. */
function spanText(span: string): string {
  try {
    const ms = durationMs(span)
    for (const [unit, of] of [
      ['d', 86_400_000],
      ['h', 3_600_000],
      ['m', 60_000],
    ] as const) {
      if (ms % of === 0) return `${ms / of}${unit}`
    }
    return `${ms / 1_000}s`
  } catch {
    return span
  }
}

function shownPath(path: readonly PropertyKey[]): string {
  const last = String(path.at(-1) ?? '')
  if (path.length === 0) return 'the document'
  return last.startsWith('(') ? `${pathText(path.slice(0, -1))} ${last}` : pathText(path)
}

function shown(value: unknown): string | undefined {
  if (value === undefined) return undefined
  const json = JSON.stringify(value)
  return json.length > LONGEST ? `${json.slice(0, LONGEST)}…` : json
}

/** What of a change its text doesn't say. */
function effectOf(
  path: readonly PropertyKey[],
  before: unknown,
  after: unknown,
  beside: readonly PropertyKey[],
): string | undefined {
  const [first, second = '', third = ''] = path.map(String)
  const isWhole = before === undefined || after === undefined
  const last = String(path.at(-1) ?? '')
  if (last.startsWith('(')) return limitEffect(last, before, after, beside.map(String))
  if (path.length === 2 && isWhole) {
    if (first === 'plans' && after === undefined) {
      return (
        `Consumers on plan '${second}' are refused (403) until they are moved. What each used counts on in its new plan, where that has ` +
        'a limit on the same; what the plan’s consumers shared starts anew.'
      )
    }
    if (first === 'models' && after === undefined) return `Requests for '${second}' are refused.`
    if (first === 'groups') return after === undefined ? 'Its limits hold no more.' : 'Counts from now on.'
  }
  if (first === 'identity' && path.length < 3 && after === undefined) return 'All tokens are refused.'
  if (first === 'identity' && second === 'issuers' && path.length === 3 && isWhole) {
    return after === undefined
      ? `Tokens of issuer '${third}' are refused.`
      : `Its callers are consumers ~${third}~…, which are new: what they used under another issuer's name counts no more.`
  }
  if (first === 'usage') return 'What is older than the ledger keeps is removed within minutes, and does not come back.'
  return undefined
}

function limitEffect(counted: string, before: unknown, after: unknown, beside: readonly string[]): string {
  if (after === undefined) return 'Holds no more.'
  if (before === undefined) {
    // Limits that count the same are told apart by their periods alone.
    const isKnown = beside.some((other) => withoutPeriod(other) === withoutPeriod(counted))
    return isKnown ? 'Begins with what was left of the others on the same.' : 'Counts from now on.'
  }
  if (counted.startsWith('(concurrent')) return 'Requests in flight keep their places.'
  const [, per = ''] = / per (\w+)/.exec(counted) ?? []
  return WINDOW.test(per) ? 'What was used in this window stays used.' : 'What is left stays left, up to the new size.'
}

function withoutPeriod(counted: string): string {
  return counted.replace(/ per \w+/, '')
}
