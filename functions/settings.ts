import {
  type DocumentSource,
  type EgressPolicy,
  type GatewayOptions,
  isLoopback,
  OperatorError,
  POLICY_FILE,
  type Policy,
  type PolicyFile,
  type PolicyLocation,
  type PolicyText,
  readPolicyFile,
  resolvePolicyText,
  type StartPolicy,
  type StorageLocation,
  storageLocation,
} from '@tollgate/middleware'
import { defaultTarget } from './default-target.ts'
import { misspeltSettings } from './setting-names.ts'
import { SettingsError } from './settings-error.ts'
import { checkTelemetry } from './telemetry.ts'

export { SettingsError } from './settings-error.ts'

/** The longest that `TOLLGATE_STREAM_TOTAL_MS` may let a stream last: an hour. `functionTimeout` in host.json is above it. */
export const MAX_STREAM_TOTAL_MS = 3_600_000

type Environment = Readonly<Record<string, string | undefined>>

/** The app's settings, checked: the gateway's, and where its policy comes from. All durations are milliseconds. */
export interface Settings extends Omit<GatewayOptions, 'policy' | 'targetKinds' | 'log'> {
  /** Of the file that the app came with, or the defaults where there is none; or why it can't be used. */
  readonly policy: Policy
  readonly policySource: DocumentSource
  readonly policyFile: PolicyFile | undefined
  /** Whose revisions are in force: `TOLLGATE_POLICY`, or the name that a policy has without. */
  readonly policyName: string
  /** Why the file can't be used, where its revisions may be in force all the same. `policy` is not to be had then. */
  readonly policyFault: OperatorError | undefined
  /** What the file says by now. */
  readonly rereadPolicy: () => StartPolicy
  /** What another text comes to by these settings. @throws OperatorError */
  readonly resolvePolicy: (of: PolicyText) => Policy
  /** What of the environment is not read and may have been meant to be. */
  readonly hints: readonly string[]
}

/**
 * Reads the environment, once, at first use: in a placeholder start it is replaced after the process began.
 *
 * @param root the app's folder, where the policy document lies.
 * @throws SettingsError, StorageSettingError or PolicyError, each with what to correct; where several things are wrong, a
 * SettingsError that lists them all.
 */
export function readSettings(env: Environment, root: string): Settings {
  refuseUnresolved(env)
  const faults: OperatorError[] = []
  /** What can't be read is `undefined` and a fault; with a fault none of it is returned. */
  function attempt<T>(read: () => T): T {
    try {
      return read()
    } catch (fault) {
      if (!(fault instanceof OperatorError)) throw fault
      faults.push(fault)
      return undefined as T
    }
  }
  const wholeNumber: typeof readWholeNumber = (...of) => attempt(() => readWholeNumber(...of))

  const read = new Set<string>()
  const storage = attempt(() => storageOf(env))
  const bounds = attempt(() => policyBounds(noting(env, read)))
  const target = attempt(() =>
    defaultTarget({
      endpoint: env.OPENAI_ENDPOINT,
      baseUrl: env.OPENAI_BASE_URL,
      key: env.OPENAI_API_KEY,
      apiVersion: env.OPENAI_API_VERSION,
      model: env.OPENAI_MODEL_NAME,
    }),
  )
  const options = bounds && { bounds, defaultTarget: target }
  const rereadPolicy = () => startPolicy({ root, path: env.TOLLGATE_POLICY || undefined }, options as PolicyOptions)
  // Without its bounds each of its targets would be a fault of its own.
  const start = options && rereadPolicy()
  const policyFault = start?.policy instanceof OperatorError ? start.policy : undefined
  if (policyFault !== undefined) faults.push(policyFault)
  attempt(() => checkTelemetry(env))
  const misspelt = misspeltSettings(env, { read, readable: bounds?.readable ?? [] })
  faults.push(...misspelt.faults.map((fault) => new SettingsError(fault)))
  // The platform cuts a response that has not begun after 230 s.
  const totalMs = wholeNumber(env, 'TOLLGATE_TOTAL_MS', { fallback: 200_000, min: 100, max: 220_000 })
  const firstByteMs = wholeNumber(env, 'TOLLGATE_FIRST_BYTE_MS', {
    fallback: Math.min(120_000, totalMs ?? 120_000),
    min: 100,
    max: 220_000,
  })
  const connectMs = wholeNumber(env, 'TOLLGATE_CONNECT_MS', {
    fallback: Math.min(4_000, firstByteMs ?? 4_000),
    min: 100,
    max: 60_000,
  })
  const settings: Settings = {
    storage,
    redis: attempt(() => (env.TOLLGATE_REDIS ? redisUrl(env.TOLLGATE_REDIS) : undefined)),
    policy: start?.policy as Policy,
    policySource: { file: start?.file?.source, digest: start?.file?.digest },
    policyFile: start?.file,
    policyName: env.TOLLGATE_POLICY || POLICY_FILE,
    policyFault,
    rereadPolicy,
    resolvePolicy: (of) => resolvePolicyText(of, options as PolicyOptions),
    hints: [...misspelt.hints, ...easyAuthHints(env)],
    cacheSecret: env.TOLLGATE_CACHE_SECRET || undefined,
    maxBodyBytes: wholeNumber(env, 'TOLLGATE_MAX_BODY_BYTES', {
      fallback: 1024 * 1024,
      min: 1,
      max: 100 * 1024 * 1024,
    }),
    maxOutputTokens: wholeNumber(env, 'TOLLGATE_MAX_OUTPUT_TOKENS', { fallback: 4_096, min: 1, max: 1_000_000 }),
    storeDeadlineMs: wholeNumber(env, 'TOLLGATE_STORE_DEADLINE_MS', { fallback: 2_000, min: 10, max: 60_000 }),
    cacheDeadlineMs: wholeNumber(env, 'TOLLGATE_CACHE_DEADLINE_MS', { fallback: 50, min: 1, max: 60_000 }),
    connectMs,
    firstByteMs,
    totalMs,
    idleMs: wholeNumber(env, 'TOLLGATE_IDLE_MS', { fallback: 120_000, min: 100, max: 220_000 }),
    streamTotalMs: wholeNumber(env, 'TOLLGATE_STREAM_TOTAL_MS', {
      fallback: 1_800_000,
      min: 100,
      max: MAX_STREAM_TOTAL_MS,
    }),
    clientId: env.AZURE_CLIENT_ID || undefined,
    trustEasyAuth: attempt(() => trustsEasyAuth(env)),
  }
  attempt(() => checkOrder(settings))
  // A file that was in force, or never is, need not be of use today: what is in the tables decides. A person is told at once.
  const mayBeElsewhere = storage?.kind !== 'memory' && env.AZURE_FUNCTIONS_ENVIRONMENT !== 'Development'
  const isPolicyAlone = policyFault !== undefined && faults.length === 1
  if (faults.length > 0 && !(isPolicyAlone && mayBeElsewhere)) throw together(faults)
  return settings
}

type PolicyOptions = Parameters<typeof resolvePolicyText>[1]

/** What the file says, or why it can't be read or used. */
function startPolicy(location: PolicyLocation, options: PolicyOptions): StartPolicy {
  let file: PolicyFile | undefined
  try {
    file = readPolicyFile(location)
    return { file, policy: resolvePolicyText(file, options) }
  } catch (fault) {
    if (fault instanceof OperatorError) return { file, policy: fault }
    throw fault
  }
}

/** App Service's own authentication sets this itself where it is on. Without it anybody can send the header that it would. */
const isEasyAuthOn = ({ WEBSITE_AUTH_ENABLED: on }: Environment) => on?.toLowerCase() === 'true'

/** @throws SettingsError for what is neither true nor false */
function trustsEasyAuth(env: Environment): boolean {
  const trust = env.TOLLGATE_TRUST_EASY_AUTH || 'false'
  if (trust === 'true') return isEasyAuthOn(env)
  if (trust === 'false') return false
  throw new SettingsError('TOLLGATE_TRUST_EASY_AUTH must be true or false.')
}

function easyAuthHints(env: Environment): readonly string[] {
  if (env.TOLLGATE_TRUST_EASY_AUTH !== 'true' || isEasyAuthOn(env)) return []
  return [
    'TOLLGATE_TRUST_EASY_AUTH is true, and the app has no authentication of App Service (WEBSITE_AUTH_ENABLED is not true): X-MS-CLIENT-PRINCIPAL is not believed.',
  ]
}

/** A deadline within another must not be the longer one: it would never be reached. */
function checkOrder({
  connectMs,
  firstByteMs,
  totalMs,
}: Pick<Settings, 'connectMs' | 'firstByteMs' | 'totalMs'>): void {
  const inOrder = [
    ['TOLLGATE_CONNECT_MS', connectMs],
    ['TOLLGATE_FIRST_BYTE_MS', firstByteMs],
    ['TOLLGATE_TOTAL_MS', totalMs],
  ] as const
  for (const [index, [name, ms = 0]] of inOrder.entries()) {
    const [within, withinMs = ms] = inOrder[index + 1] ?? []
    if (ms <= withinMs) continue
    throw new SettingsError(
      `${name} (${ms}) is longer than ${within} (${withinMs}), which it is a part of. Set a shorter one.`,
    )
  }
}

const MOST_FAULTS = 25

/** One fault stands by itself; several are listed. */
function together(faults: readonly OperatorError[]): OperatorError {
  const [first, ...others] = faults
  if (first === undefined || others.length === 0) return first ?? new SettingsError('')
  const lines = faults.slice(0, MOST_FAULTS).map(({ message }) => `- ${message.replaceAll('\n', '\n  ')}`)
  const more = faults.length > lines.length ? [`- and ${faults.length - lines.length} more`] : []
  return new SettingsError(`${faults.length} settings can't be used:\n${[...lines, ...more].join('\n')}`)
}

/** The variables, noting which are read. */
function noting(env: Environment, read: Set<string>): Environment {
  return new Proxy(env, {
    get(target, name) {
      if (typeof name === 'string') read.add(name)
      return Reflect.get(target, name)
    },
  })
}

function storageOf(env: Environment): StorageLocation {
  const storage = storageLocation(env)
  if (storage !== undefined) return storage
  throw new SettingsError(
    'No storage is configured: set TOLLGATE_STORAGE to a connection string or to ' +
      'https://<account>.table.core.windows.net (or give the Function app its own account by AzureWebJobsStorage).',
  )
}

/** Where the platform can't read a secret from Key Vault, the app gets the reference in its place, which is no secret at all. */
function refuseUnresolved(env: Environment): void {
  const [setting] = Object.entries(env).find(([, value]) => value?.startsWith('@Microsoft.KeyVault(')) ?? []
  if (setting === undefined) return
  throw new SettingsError(
    `${setting} is a reference to Key Vault that was not resolved. Give the app's identity the role Key Vault Secrets User ` +
      'on the vault, see that the secret is there, have the references read again (docs/infra.md says by which command: a ' +
      'restart alone does not), and restart the app.',
  )
}

/** A password that holds / ? # @ or a stray % would end in the host or the path, and from there in a message. */
const REDIS_URL = /^(rediss?):\/\/(?:(?:[^/?#@%]|%[\da-f]{2})*@)?([a-z\d._-]+|\[[\da-f:]+\])(?::\d+)?(?:\/\d*)?$/i

function redisUrl(text: string): string {
  const [, protocol, host] = REDIS_URL.exec(text) ?? []
  if (protocol === undefined || host === undefined || !URL.canParse(text)) {
    throw new SettingsError(
      'TOLLGATE_REDIS must be rediss://[[user]:password@]host[:port][/database], with user and password URL-encoded.',
    )
  }
  const plain = URL.parse(`http://${host}`)
  if (protocol.toLowerCase() === 'redis' && (plain === null || !isLoopback(plain))) {
    throw new SettingsError('TOLLGATE_REDIS points to a Redis outside this machine without TLS. Use rediss://.')
  }
  return text
}

/** A policy may reach and read what the OPENAI_* settings name, and what the operator lists. */
function policyBounds(env: Environment): EgressPolicy {
  const named = [env.OPENAI_ENDPOINT, env.OPENAI_BASE_URL].map((text) => URL.parse(text ?? '')?.hostname)
  return {
    env,
    hosts: [...named.filter((host) => host !== undefined), ...targetHosts(env)],
    readable: ['OPENAI_*', ...readableNames(env)],
  }
}

const HOST = /^(?:[a-z\d_-]+(?:\.[a-z\d_-]+)*|\[[\da-f:.]+\])$/

/** @throws SettingsError for what no host's name could ever match. */
function targetHosts(env: Environment): string[] {
  const hosts = list(env.TOLLGATE_TARGET_HOSTS)
  const wrong = hosts.find((host) => {
    const name = host.toLowerCase().replace(/^\*\./, '')
    return !HOST.test(name) || URL.parse(`http://${name}`)?.hostname !== name
  })
  if (wrong === undefined) return hosts
  const meant = URL.parse(wrong.includes('://') ? wrong : `http://${wrong}`)?.hostname
  const hint = meant !== undefined && HOST.test(meant) ? ` Did you mean ${meant}?` : ''
  throw new SettingsError(
    `TOLLGATE_TARGET_HOSTS lists names of hosts, without protocol, port and path, separated by commas, such as llm.example.com,*.corp.example: entry ${hosts.indexOf(wrong) + 1} is none.${hint}`,
  )
}

/** @throws SettingsError for what is no variable's name, and none that a policy could ask for. */
function readableNames(env: Environment): string[] {
  const names = list(env.TOLLGATE_POLICY_ENV)
  const wrong = names.findIndex((name) => !/^(?:[A-Z][A-Z0-9_]*\*?|\*)$/.test(name))
  if (wrong < 0) return names
  throw new SettingsError(
    `TOLLGATE_POLICY_ENV lists names of variables, in capitals, digits and underscores, separated by commas, such as TEAM_KEY,LLM_*: entry ${wrong + 1} is none.`,
  )
}

function list(text: string | undefined): string[] {
  return (text ?? '')
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '')
}

interface WholeNumber {
  readonly fallback: number
  readonly min: number
  readonly max: number
}

/** What a setting's name ends with, and what it then counts. */
const UNITS = { _MS: 'milliseconds', _BYTES: 'bytes', _TOKENS: 'tokens' } as const

function readWholeNumber(env: Environment, setting: string, { fallback, min, max }: WholeNumber): number {
  const text = env[setting]
  if (text === undefined || text === '') return fallback
  const value = /^\d+$/.test(text) ? Number(text) : Number.NaN
  if (value >= min && value <= max) return value
  const unit = Object.entries(UNITS).find(([end]) => setting.endsWith(end))?.[1]
  throw new SettingsError(
    `${setting} must be a whole number from ${min} to ${max}${unit === undefined ? '' : `, in ${unit}`}: digits alone, such as ${fallback}.`,
  )
}
