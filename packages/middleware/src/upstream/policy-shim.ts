/*
 * The policy's shapes of h/policy, until that is merged: then delete this file, and import all of it from
 * `../policy/index.ts`.
 */
import type { CacheRule, Price, RoutePolicy, TargetSettings } from '../policy/index.ts'

export interface Target {
  readonly id: string
  readonly priority: number
  readonly weight: number
  readonly zone: string | undefined
  readonly price: Price | undefined
  readonly settings: TargetSettings
}

export interface Model {
  readonly name: string
  readonly targets: readonly [Target, ...Target[]]
  readonly fallback: string | undefined
  readonly contextWindow: number | undefined
}

export interface ModelRules {
  readonly contextWindow: number | undefined
  readonly outputField: 'max_tokens' | 'max_completion_tokens' | 'max_output_tokens'
  readonly temperature: boolean
  readonly tools: readonly string[]
  readonly tiers: readonly string[]
}

export interface Policy {
  readonly models: ReadonlyMap<string, Model>
  readonly routes: ReadonlyMap<string, RoutePolicy>
}

export function rulesOf({ contextWindow }: Pick<Model, 'contextWindow'>): ModelRules {
  return { contextWindow, outputField: 'max_tokens', temperature: true, tools: [], tiers: [] }
}

export function routeOf({ routes }: Pick<Policy, 'routes'>, name: string): RoutePolicy {
  return (
    routes.get(name) ?? {
      model: 'default',
      cache: { ttlMs: 3_600_000, sampled: true, scope: 'consumer', tools: false } satisfies CacheRule,
      transforms: { lineEndings: false, minifyJson: false, dropDuplicates: [] },
    }
  )
}
