import type { TargetSettings } from '../policy/index.ts'
import type { Target as PolicyTarget } from './policy-shim.ts'

/** A place that serves a model. */
export interface Target extends PolicyTarget {
  /** Tells apart models that may answer differently; part of every cache key. */
  readonly identity: string
}

const known = new WeakMap<PolicyTarget, Target>()

export function targetOf(policy: PolicyTarget): Target {
  let target = known.get(policy)
  if (target === undefined) {
    target = { ...policy, identity: identityOf(policy.settings) }
    known.set(policy, target)
  }
  return target
}

function identityOf(settings: TargetSettings): string {
  const { kind, model } = settings
  const url = new URL(kind === 'azure' ? settings.endpoint : settings.baseUrl)
  const place = isSimulated(url) ? 'simulated' : url.host + url.pathname
  return JSON.stringify([kind, place, model, kind === 'azure' ? (settings.apiVersion ?? 'v1') : ''])
}

/** The simulated model's port changes from run to run, and what it answers doesn't. It says what it is by its path. */
function isSimulated({ hostname, pathname }: URL): boolean {
  return hostname === '127.0.0.1' && pathname.startsWith('/simulated/')
}
