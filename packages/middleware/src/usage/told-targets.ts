import type { TargetState } from '../pipeline/index.ts'
import type { EntityKey } from '../storage/index.ts'

/*
 * Which targets an instance does not ask for a while, as it tells with what it records: a property of its segments, of which the one
 * that was told last counts.
 */

/** A target that an instance does not ask now. */
export interface InstanceTarget extends TargetState {
  readonly instance: string
}

/** An instance that has told nothing for so long may have ended, in milliseconds. */
export const TOLD_MS = 60_000
/** Of one instance. */
const MOST = 64
/** Table Storage's bound of a text, in characters. */
const MOST_TEXT = 32 * 1024

export const TARGET_FIELDS = ['targets', 'toldAt']

type Stored = readonly [target: string, state: TargetState['state'], since: number, until: number, tier?: string]

/** As it is stored. */
export function targetsText(states: readonly TargetState[]): string {
  const stored = states.slice(0, MOST).map(({ target, state, since, until, tier }): Stored => {
    const told = [target, state, Math.round(since), Math.round(until)] as const
    return tier === undefined ? told : [...told, tier]
  })
  let text = JSON.stringify(stored)
  while (text.length > MOST_TEXT) text = JSON.stringify(stored.splice(0, stored.length / 2))
  return text
}

/** What each instance told last, of what is not over: by its segments, in any order. */
export function targetsIn(
  segments: readonly (EntityKey & { readonly targets?: unknown; readonly toldAt?: unknown })[],
  now: number,
): InstanceTarget[] {
  const last = new Map<string, { readonly at: number; readonly states: readonly Stored[] }>()
  for (const { rowKey, targets, toldAt } of segments) {
    const [, instance = ''] = rowKey.split('-')
    const at = Number(toldAt)
    if (!(at >= now - TOLD_MS) || at < (last.get(instance)?.at ?? 0)) continue
    last.set(instance, { at, states: storedIn(targets) })
  }
  return Array.from(last, ([instance, { states }]) =>
    states
      .filter(([, , , until]) => until > now)
      .map(([target, state, since, until, tier]) => ({
        instance,
        target,
        state,
        since,
        until,
        ...(tier !== undefined && { tier }),
      })),
  ).flat()
}

/** A later version may tell in other words: that is nothing to fail for. */
function storedIn(targets: unknown): readonly Stored[] {
  try {
    const stored = JSON.parse(String(targets)) as readonly Stored[]
    return stored.filter(([target, state]) => typeof target === 'string' && (state === 'blocked' || state === 'open'))
  } catch {
    return []
  }
}
