import { purgeCache as purgeCacheAction } from '@tollgate/middleware'
import { managing } from './managing.ts'
import type { Place } from './place.ts'

/** Exactly one of them is to be given. */
export interface CachePurgeOptions {
  readonly consumer?: string
  readonly plan?: string
  readonly route?: string
  readonly all?: boolean
}

/** Makes all completions of a subject unfindable. Where they are kept doesn't matter: what was purged is in the tables. */
export async function purgeCache({ all, ...options }: CachePurgeOptions, place: Place): Promise<string> {
  const { output } = await managing(purgeCacheAction, { ...options, ...(all && { all }) }, place)
  return [
    `Purged: ${whatText(options)}. Every instance goes by it within 5 seconds.`,
    ...(output.known
      ? []
      : [`But there is no consumer '${options.consumer}': was another one meant? See: consumers list`]),
  ].join('\n')
}

function whatText({ consumer, plan, route }: CachePurgeOptions): string {
  if (consumer !== undefined) return `what is stored for consumer '${consumer}' alone`
  if (plan !== undefined) return `what the consumers of plan '${plan}' share`
  return route === undefined ? 'all completions' : `all completions of route '${route}'`
}
