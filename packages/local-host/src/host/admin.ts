import type { IncomingMessage } from 'node:http'
import { Refused } from './refused.ts'
import type { RunningTimers } from './timer-triggers.ts'
import type { Triggers } from './triggers.ts'

export interface AdminAnswer {
  readonly status: number
  readonly json?: unknown
}

/** The host's own API, under `/admin/`. @throws Refused for a path that is not served, or a function that has no timer. */
export function admin(
  { method }: IncomingMessage,
  { origin, pathname }: URL,
  triggers: Triggers,
  timers: RunningTimers,
): AdminAnswer {
  const [, area, name, ...rest] = pathname.split('/').filter((part) => part !== '')
  if (method === 'GET' && area === 'host' && (name === 'status' || name === 'ping') && rest.length === 0) {
    return { status: 200, json: { id: 'local', state: 'Running' } }
  }
  if (area !== 'functions' || rest.length > 0) throw new Refused(404, `The local host has no ${method} ${pathname}.`)
  const listed = list(triggers, origin)
  if (name === undefined) {
    if (method !== 'GET') throw new Refused(405, 'The list of functions is to be read with GET.')
    return { status: 200, json: listed }
  }
  const found = listed.find((known) => known.name.toLowerCase() === name.toLowerCase())
  if (found === undefined) throw new Refused(404, `The app has no function '${name}'.`)
  if (method === 'GET') return { status: 200, json: found }
  if (method !== 'POST') throw new Refused(405, 'A function is to be run with POST, and looked at with GET.')
  if (timers.run(found.name) === undefined) {
    throw new Refused(
      400,
      `'${found.name}' has no timer. Call it by its URL: ${found.invoke_url_template ?? 'it has none'}`,
    )
  }
  return { status: 202 }
}

function list({ http, timers, other }: Triggers, origin: string) {
  const entry = (name: string, type: string, url?: string) => ({
    name,
    language: 'node',
    isDisabled: false,
    config: { bindings: [{ type, direction: 'in' }] },
    invoke_url_template: url,
  })
  return [
    ...http.map(({ name, path }) => entry(name, 'httpTrigger', `${origin}/${path}`)),
    ...timers.map(({ name }) => entry(name, 'timerTrigger')),
    ...other.map(({ name, type }) => entry(name, type)),
  ]
}
