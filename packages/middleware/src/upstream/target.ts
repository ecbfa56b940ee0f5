import type { TargetSettings } from '../policy/index.ts'

/** A place that serves a model. */
export interface Target {
  readonly settings: TargetSettings
  /** Tells apart models that may answer differently; part of every cache key. */
  readonly identity: string
}

export function targetOf(settings: TargetSettings): Target {
  const { kind, model } = settings
  const url = new URL(kind === 'azure' ? settings.endpoint : settings.baseUrl)
  // A local server's port changes from run to run, and what it serves doesn't.
  const place = isLocal(url) ? url.hostname : url.host + url.pathname
  return {
    settings,
    identity: JSON.stringify([kind, place, model, kind === 'azure' ? (settings.apiVersion ?? 'v1') : '']),
  }
}

function isLocal({ hostname }: URL): boolean {
  return hostname === 'localhost' || hostname === '[::1]' || hostname.startsWith('127.')
}
