import { purgeCache as purgeCacheAction } from '@tollgate/middleware'
import { CommandFault } from './command-fault.ts'
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
export async function purgeCache(options: CachePurgeOptions, place: Place): Promise<string> {
  const meant = meantBy(options)
  const { output } = await managing(purgeCacheAction, meant, place)
  return [
    `Purged: ${whatText(meant)}. Every instance goes by it within 5 seconds.`,
    ...(output.known
      ? []
      : [`But there is no consumer '${meant.consumer}': was another one meant? See: consumers list`]),
  ].join('\n')
}

type Meant = Pick<CachePurgeOptions, 'consumer' | 'plan' | 'route'> & { readonly all?: true }

/** @throws CommandFault that names the options. */
function meantBy({ consumer, plan, route, all }: CachePurgeOptions): Meant {
  const given = Object.entries({ consumer, plan, route, all }).filter(([, value]) => value !== undefined)
  if (given.length === 0) throw new CommandFault('Say what to purge: --consumer, --plan, --route or --all.')
  if (given.length > 1) {
    throw new CommandFault(`${given.map(([option]) => `--${option}`).join(' and ')} exclude each other.`)
  }
  return Object.fromEntries(given)
}

function whatText({ consumer, plan, route }: Meant): string {
  if (consumer !== undefined) return `what is stored for consumer '${consumer}' alone`
  if (plan !== undefined) return `what the consumers of plan '${plan}' share`
  return route === undefined ? 'all completions' : `all completions of route '${route}'`
}
