import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { LogLevel } from '../worker/core-types.ts'

/** As much of host.json as this host acts on. */
export interface HostJson {
  /** Without slashes; empty for none. */
  readonly routePrefix: string
  readonly logLevel: LogLevel
}

const LEVELS: readonly LogLevel[] = ['trace', 'debug', 'information', 'warning', 'error', 'critical', 'none']

/** @throws when host.json is missing, is no JSON, or is not of version 2.0. */
export function readHostJson(root: string): HostJson {
  const host = parse(readFileSync(join(root, 'host.json'), 'utf8')) as {
    version?: string
    extensions?: { http?: { routePrefix?: string } }
    logging?: { logLevel?: { default?: string } }
  }
  if (host.version !== '2.0') {
    throw operatorError(`host.json: version must be "2.0", not ${JSON.stringify(host.version)}.`)
  }
  const level = host.logging?.logLevel?.default?.toLowerCase() ?? 'information'
  return {
    routePrefix: (host.extensions?.http?.routePrefix ?? 'api').replace(/^\/+|\/+$/g, ''),
    logLevel: LEVELS.find((known) => known === level) ?? 'information',
  }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    throw operatorError('host.json is not valid JSON. It may have neither comments nor a comma behind the last value.')
  }
}

/** Known by `operatorMessage`, as an `OperatorError` is; that class would load the middleware, which the host has no need of. */
function operatorError(operatorMessage: string): Error {
  return Object.assign(new Error(operatorMessage), { operatorMessage })
}

/** Whether a line of this level is written where `least` is configured. */
export function isLogged(level: LogLevel, least: LogLevel): boolean {
  return least !== 'none' && LEVELS.indexOf(level) >= LEVELS.indexOf(least)
}
