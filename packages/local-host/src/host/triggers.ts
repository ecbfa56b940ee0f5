import type { FunctionMetadata } from '../worker/core-types.ts'
import type { RegisteredFunction } from '../worker/functions-core.ts'
import { type RouteTemplate, routeTemplate } from './route-template.ts'
import type { TimerTrigger } from './timer-triggers.ts'

/** A function that HTTP reaches, and where. */
export interface HttpTrigger {
  readonly name: string
  readonly registered: RegisteredFunction
  /** The full path's template, with the prefix, without a leading slash. */
  readonly path: string
  readonly template: RouteTemplate
  /** Upper case. */
  readonly methods: ReadonlySet<string>
  readonly authLevel: 'anonymous' | 'function' | 'admin'
}

export interface Triggers {
  /** The most specific route first. */
  readonly http: readonly HttpTrigger[]
  readonly timers: readonly TimerTrigger[]
  /** Functions that this host doesn't run, and by what they are triggered. */
  readonly other: readonly { readonly name: string; readonly type: string }[]
}

/** @throws for a route that the real host would refuse, or whose form is not supported here. */
export function triggersOf(functions: Iterable<RegisteredFunction>, routePrefix: string): Triggers {
  const http: HttpTrigger[] = []
  const timers: TimerTrigger[] = []
  const other: { name: string; type: string }[] = []
  for (const registered of functions) {
    const { metadata } = registered
    const trigger = triggerOf(metadata)
    if (trigger?.type === 'timerTrigger') {
      const { schedule, runOnStartup } = trigger
      timers.push({ name: metadata.name, registered, schedule: String(schedule), runOnStartup: runOnStartup === true })
      continue
    }
    if (trigger?.type !== 'httpTrigger') {
      other.push({ name: metadata.name, type: trigger?.type ?? 'nothing' })
      continue
    }
    const route = String(trigger.route ?? metadata.name)
    if (/^\/?(?:admin|runtime)(?:\/|$)/i.test(route)) {
      throw new Error(`${metadata.name}: the host refuses routes that begin with 'admin' or 'runtime'`)
    }
    const path = [routePrefix, route.replace(/^\/+/, '')].filter((part) => part !== '').join('/')
    http.push({
      name: metadata.name,
      registered,
      path,
      template: routeTemplate(path),
      methods: new Set((trigger.methods as string[]).map((method) => method.toUpperCase())),
      authLevel: authLevelOf(metadata.name, trigger.authLevel),
    })
  }
  http.sort((a, b) => (a.template.rank < b.template.rank ? -1 : 1))
  return { http, timers, other }
}

/** What is not known must not stand open. */
function authLevelOf(name: string, level: unknown): HttpTrigger['authLevel'] {
  const known = String(level ?? 'anonymous').toLowerCase()
  if (known === 'anonymous' || known === 'function' || known === 'admin') return known
  throw new Error(`${name}: authLevel '${known}' is none of anonymous, function, admin`)
}

function triggerOf({ bindings }: FunctionMetadata) {
  return Object.values(bindings).find(({ type }) => type.endsWith('Trigger'))
}

/** The first trigger that takes this method and path, with the path's parameters. */
export function findTrigger(triggers: readonly HttpTrigger[], method: string, pathname: string) {
  for (const trigger of triggers) {
    const params = trigger.methods.has(method) ? trigger.template.match(pathname.slice(1)) : undefined
    if (params !== undefined) return { trigger, params }
  }
  return undefined
}
