import type { TargetSettings } from '../policy/index.ts'

/** A place that serves a model. */
export interface Target {
  readonly settings: TargetSettings
  /** Tells apart models that may answer differently; part of every cache key. */
  readonly identity: string
}

const known = new WeakMap<TargetSettings, Target>()

export function targetOf(settings: TargetSettings): Target {
  const target = known.get(settings) ?? resolve(settings)
  known.set(settings, target)
  return target
}

function resolve(settings: TargetSettings): Target {
  const { kind, model } = settings
  const url = new URL(kind === 'azure' ? settings.endpoint : settings.baseUrl)
  const place = isSimulated(url) ? 'simulated' : url.host + url.pathname
  return {
    settings,
    identity: JSON.stringify([kind, place, model, kind === 'azure' ? (settings.apiVersion ?? 'v1') : '']),
  }
}

/** The simulated model's port changes from run to run, and what it answers doesn't. It says what it is by its path. */
function isSimulated({ hostname, pathname }: URL): boolean {
  return hostname === '127.0.0.1' && pathname.startsWith('/simulated/')
}
