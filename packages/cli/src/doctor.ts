import { openStorage } from '@tollgate/local-host'
import {
  OperatorError,
  openTables,
  type StorageLocation,
  storageLocation,
  tableConsumerStore,
} from '@tollgate/middleware'
import { type Examined, readExported } from './doctor/environment.ts'
import { CHECKS, checked, codeOf, type Finding, ok, type Seen, warn } from './doctor/finding.ts'
import { keysSeen } from './doctor/keys.ts'
import { modelsSeen, unaskedSeen } from './doctor/models.ts'
import { policyInForce, policySeen, pricesSeen, regionSeen } from './doctor/policy.ts'
import { redisSeen } from './doctor/redis.ts'
import { cacheSecretSeen, hostSeen, settingsOf, settingsSeen, telemetrySeen } from './doctor/settings.ts'
import { clockSeen, rightsSeen, type SharedLocation } from './doctor/storage.ts'
import type { Place } from './place.ts'
import { printable } from './printable.ts'

export interface DoctorOptions {
  /** A file of a deployed app's settings. */
  readonly settings?: string
  /** Whether each target is asked for a real answer; `true` by default. */
  readonly model?: boolean
  readonly json?: boolean
}

export interface Diagnosis {
  readonly text: string
  readonly isWell: boolean
}

/** Looks at all that requests need, and names the fix of what is wrong. Changes nothing, but for a row that it makes and removes. */
export async function diagnose(
  { settings: file, model = true, json = false }: DoctorOptions,
  place: Place,
): Promise<Diagnosis> {
  const tables = file === undefined ? await openLocalStorage(place) : undefined
  try {
    const examined: Examined =
      file === undefined ? { ...place, isExported: false, unseen: [] } : readExported(file, place.root)
    const findings = await findAll(examined, model, tables?.text)
    const isWell = findings.every(({ state }) => state !== 'fault')
    return { isWell, text: json ? JSON.stringify({ isWell, findings }) : textOf(findings) }
  } finally {
    tables?.release()
  }
}

/** As for other commands: where none is configured, those of `npm start`. A wrong setting is told with all others. */
async function openLocalStorage({ root, env }: Place) {
  try {
    return await openStorage(root, env)
  } catch (error) {
    if (error instanceof OperatorError) return undefined
    throw error
  }
}

async function findAll(examined: Examined, asksModels: boolean, local: string | undefined): Promise<Finding[]> {
  const { env, isExported } = examined
  const settings = settingsOf(examined)
  const isRead = !(settings instanceof OperatorError)
  const location = locationOf(examined)
  const shared = location === undefined || location.kind === 'memory' ? undefined : location
  const inForce = policyInForce(settings, examined, shared)
  const who =
    shared?.kind === 'connection-string'
      ? (local ?? 'the connection string')
      : isExported
        ? 'your own sign-in'
        : 'this identity'
  const unknown = (what: string): Seen => warn(`not looked at, since ${what}`, 'Correct that first.')
  const inStorage = async (look: (at: SharedLocation) => Promise<Seen | readonly Seen[]>) =>
    shared === undefined ? noStorageSeen(location) : look(shared)

  const found = await Promise.all([
    checked('settings', () => settingsSeen(settings, examined)),
    checked('host', () => hostSeen(settings, examined)),
    checked('storage', (signal) => inStorage((at) => rightsSeen(at, who, signal))),
    checked('clock', (signal) => inStorage((at) => clockSeen(at, signal))),
    checked('policy', async () => policySeen(await inForce)),
    checked('models', async (signal) => {
      const { policy } = await inForce
      if (!isRead || policy instanceof OperatorError) return unknown('settings or policy are at fault')
      if (!asksModels) return unaskedSeen(policy, examined)
      const { connectMs, clientId } = settings
      return modelsSeen({ policy, connectMs, clientId, examined, signal })
    }),
    checked('prices', async () => {
      const { policy, outline } = await inForce
      if (policy instanceof OperatorError || outline instanceof OperatorError)
        return unknown('settings or policy are at fault')
      return pricesSeen(policy, outline, Date.now())
    }),
    checked('cache secret', () => cacheSecretSeen(examined)),
    checked('region', async () => {
      const { policy } = await inForce
      return policy instanceof OperatorError ? unknown('settings or policy are at fault') : regionSeen(policy, examined)
    }),
    checked('redis', (signal) => {
      if (examined.unseen.includes('TOLLGATE_REDIS'))
        return warn('not asked, since its URL is in Key Vault', 'Run this in the app.')
      const { redis } = isRead ? settings : { redis: env.TOLLGATE_REDIS || undefined }
      if (redis === undefined) return ok('none: counters and completions are in the tables')
      return /^rediss?:$/.test(URL.parse(redis)?.protocol ?? '')
        ? redisSeen(redis, signal)
        : unknown('TOLLGATE_REDIS is no URL')
    }),
    checked('keys', (signal) =>
      inStorage(async (at) => {
        const { outline } = await inForce
        const plans = outline instanceof OperatorError ? undefined : outline.plans
        try {
          return await keysSeen(tableConsumerStore(openTables(at)), plans, Date.now(), signal)
        } catch (error) {
          // What no service answered is storage's fault, which its own check names.
          if (!/^E[A-Z_]+$|AuthenticationError$/.test(codeOf(error))) throw error
          return warn(`not looked at, since storage can't be read (${codeOf(error)})`, 'See storage.')
        }
      }),
    ),
    checked('telemetry', () => telemetrySeen(examined)),
  ])
  return found.flat()
}

/** Of an app's own identity nothing is known here: who runs this signs in. */
function locationOf({ env, isExported }: Examined): StorageLocation | undefined {
  try {
    const location = storageLocation(env)
    return location?.kind === 'identity' && isExported ? { kind: 'identity', endpoint: location.endpoint } : location
  } catch {
    // The settings say why.
    return undefined
  }
}

function noStorageSeen(location: StorageLocation | undefined): Seen {
  return location === undefined
    ? warn('not looked at, since no storage is set that can be read', 'Set TOLLGATE_STORAGE: docs/settings.md')
    : warn(
        "TOLLGATE_STORAGE is 'memory:': keys, counters and usage end with the process",
        'Set TOLLGATE_STORAGE to an account.',
      )
}

const MARKS = { ok: 'ok   ', warn: 'warn ', fault: 'FAULT' } as const

/** One line each, and below it the fix; what is well first told, so that the rest stands at the end of what is read. */
function textOf(findings: readonly Finding[]): string {
  const widest = Math.max(...CHECKS.map((check) => check.length))
  const lines = findings.map(({ check, state, saw, fix }) => {
    const indent = ' '.repeat(MARKS.ok.length + widest + 4)
    const told = printable(saw).replaceAll('\n', `\n${indent}`)
    return `${MARKS[state]}  ${check.padEnd(widest)}  ${told}${fix === undefined ? '' : `\n${indent}fix: ${printable(fix)}`}`
  })
  const count = (state: Finding['state']) => findings.filter((each) => each.state === state).length
  const [faults, warnings] = [count('fault'), count('warn')]
  const summary =
    faults + warnings === 0
      ? 'All is well.'
      : `${faults} ${faults === 1 ? 'fault' : 'faults'}, ${warnings} ${warnings === 1 ? 'warning' : 'warnings'}.`
  return [...lines, '', summary].join('\n')
}
