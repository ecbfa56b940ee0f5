import { closestName, isSimulated } from '@tollgate/middleware'

type Environment = Readonly<Record<string, string | undefined>>

/** What the app reads. A test holds the code and docs/settings.md to it. */
const OF_THE_APP = [
  'TOLLGATE_STORAGE',
  'TOLLGATE_REDIS',
  'TOLLGATE_POLICY',
  'TOLLGATE_TARGET_HOSTS',
  'TOLLGATE_POLICY_ENV',
  'TOLLGATE_TRUST_EASY_AUTH',
  'TOLLGATE_CACHE_SECRET',
  'TOLLGATE_MAX_BODY_BYTES',
  'TOLLGATE_MAX_OUTPUT_TOKENS',
  'TOLLGATE_STORE_DEADLINE_MS',
  'TOLLGATE_CACHE_DEADLINE_MS',
  'TOLLGATE_CONNECT_MS',
  'TOLLGATE_FIRST_BYTE_MS',
  'TOLLGATE_TOTAL_MS',
  'TOLLGATE_IDLE_MS',
  'TOLLGATE_STREAM_TOTAL_MS',
  'TOLLGATE_APPLICATION_INSIGHTS',
]

/** What the local host, the tests and the deployment read: no setting of the app, and no typo of one either. */
const OF_TOOLS = [
  'TOLLGATE_LOCAL_DATA',
  'TOLLGATE_TEST_STORAGE',
  'TOLLGATE_TEST_APP',
  'TOLLGATE_TEST_HOST',
  'TOLLGATE_TEST_NODE',
  'TOLLGATE_MODEL',
  'TOLLGATE_MODEL_VERSION',
  'TOLLGATE_ALERT_EMAIL',
  'TOLLGATE_APP',
  'TOLLGATE_HOST',
  'TOLLGATE_URL',
  'TOLLGATE_KEY',
]

/** The settings that a misspelt name can mean. */
const MEANT = [...OF_THE_APP, 'TOLLGATE_LOCAL_DATA']

/** Settings that have no prefix, by the name that they would have with one. */
const OF_THE_LOCAL_HOST: Readonly<Record<string, string>> = { TOLLGATE_PORT: 'PORT' }

export const SETTING_NAMES: readonly string[] = [...OF_THE_APP, ...OF_TOOLS]

const MODEL_SETTINGS = [
  'OPENAI_ENDPOINT',
  'OPENAI_BASE_URL',
  'OPENAI_API_KEY',
  'OPENAI_MODEL_NAME',
  'OPENAI_API_VERSION',
]

/** Kubernetes and Docker describe a service called tollgate, or tollgate-redis, by variables such as these. */
const OF_A_SERVICE =
  /^TOLLGATE(?:_[A-Z0-9_]+)?_(?:SERVICE_HOST|SERVICE_PORT(?:_[A-Z0-9_]+)?|PORT_\d+_(?:TCP|UDP|SCTP)(?:_\w+)?)$/
const SERVICE_ADDRESS = /^(?:tcp|udp|sctp):\/\//

export interface Misspelt {
  /** What may not be passed over: it was meant to be a setting. */
  readonly faults: readonly string[]
  /** What is most likely another program's, and would mean something here under another name. */
  readonly hints: readonly string[]
}

/**
 * What of the environment is no setting but was meant to be one: passed over in silence, it would leave a default in its
 * place, such as the policy without limits on money. What a policy reads is no typo, however it is spelt.
 *
 * @param readable the names that TOLLGATE_POLICY_ENV lists, with `*` for any rest
 * @param read the variables that the policy did read
 */
export function misspeltSettings(
  env: Environment,
  { readable, read }: { readonly readable: readonly string[]; readonly read: ReadonlySet<string> },
): Misspelt {
  const names = Object.keys(env).filter((name) => env[name] !== undefined && !read.has(name))
  return {
    faults: [
      ...names
        .filter((name) => !readable.some((pattern) => isListed(name, pattern)))
        .flatMap((name) => ownFault(name, env) ?? []),
      ...names.flatMap((name) => modelFault(name, env) ?? []),
    ],
    hints: names.flatMap((name) => modelHint(name, env) ?? []),
  }
}

/** A pattern that would take all of our names in says nothing of one. */
function isListed(name: string, pattern: string): boolean {
  if (!pattern.endsWith('*')) return pattern === name
  return pattern.length > 'TOLLGATE_*'.length && name.startsWith(pattern.slice(0, -1))
}

function ownFault(name: string, env: Environment): string | undefined {
  if (SETTING_NAMES.includes(name) || OF_A_SERVICE.test(name)) return undefined
  if (/_PORT$/.test(name) && SERVICE_ADDRESS.test(env[name] ?? '')) return undefined
  const isOurs = /^toll_?gate(?:[^a-z]|policy|$)/i.test(name)
  const meant =
    OF_THE_LOCAL_HOST[name] ??
    closestName(name, MEANT, 2) ??
    (isOurs ? (closestName(name, MEANT, 4) ?? sharingWords(name)) : undefined)
  if (!isOurs && meant === undefined) return undefined
  // On Windows the names of variables have no case.
  if (meant?.toLowerCase() === name.toLowerCase() && env[meant] !== undefined) return undefined
  const hint =
    meant === undefined
      ? 'Unset it. docs/settings.md lists the settings that there are.'
      : `Did you mean ${meant}? Rename it, or unset it.`
  return `${name} is no setting. ${hint}`
}

/** TOLLGATE_MAX_OUTPUT_TOKENS for TOLLGATE_MAX_TOKENS, TOLLGATE_REDIS for TOLLGATE_REDIS_URL. */
function sharingWords(name: string): string | undefined {
  const words = wordsOf(name)
  const longest = MEANT.toSorted((a, b) => b.length - a.length)
  const shorter = longest.find((known) => isWithin(wordsOf(known), words))
  return shorter ?? (words.length > 2 ? longest.find((known) => isWithin(words, wordsOf(known))) : undefined)
}

function wordsOf(name: string): string[] {
  return name.toUpperCase().split(/[^A-Z0-9]+/)
}

function isWithin(some: readonly string[], all: readonly string[]): boolean {
  return some.every((word) => all.includes(word))
}

/** Other programs' names for a model server's address. */
const ADDRESSES = ['OPENAI_API_BASE', 'OPENAI_API_BASE_URL', 'OPENAI_API_HOST', 'OPENAI_API_URL', 'OPENAI_API_ENDPOINT']

/**
 * Two kinds are refused. A typo of a setting that is not set. And another program's name for the model's address while a
 * key is set and no address: the key would be sent to api.openai.com, which is not what the address says. Whatever else
 * begins with OPENAI_ is some other program's, or a policy's, and is let be.
 */
function modelFault(name: string, env: Environment): string | undefined {
  if (ADDRESSES.includes(name) && env[name]) {
    if (!env.OPENAI_API_KEY || env.OPENAI_ENDPOINT || env.OPENAI_BASE_URL) return undefined
    return (
      `${name} is no setting, so OPENAI_API_KEY would be sent to api.openai.com. Set OPENAI_ENDPOINT (Azure) or ` +
      'OPENAI_BASE_URL (any other server) to the address that is meant: OPENAI_BASE_URL=https://api.openai.com/v1 for OpenAI itself.'
    )
  }
  const meant = meantModelSetting(name, env)
  if (meant === undefined || isSet(meant, env)) return undefined
  return `${name} is no setting. Did you mean ${meant}? Rename it, or unset it.`
}

/** The setting of the model that a misspelt one means. */
function meantModelSetting(name: string, env: Environment): string | undefined {
  if (MODEL_SETTINGS.includes(name) || ADDRESSES.includes(name) || !env[name] || !/^open_?ai/i.test(name))
    return undefined
  // A number, a plural or one more word is one of several, which a policy may read.
  if (/\d$|S$/.test(name) || MODEL_SETTINGS.some((known) => name.startsWith(`${known}_`))) return undefined
  return closestName(name, MODEL_SETTINGS, 2)
}

/** Whether somebody has set it: the simulated model is what `npm start` supplies where nobody has configured one. */
function isSet(name: string, env: Environment): boolean {
  return Boolean(env[name]) && !isSimulated(env.OPENAI_BASE_URL ?? '')
}

/** What other programs call what these settings say. */
const OTHER_NAMES: Readonly<Record<string, string>> = {
  OPENAI_MODEL: 'OPENAI_MODEL_NAME',
  OPENAI_DEPLOYMENT: 'OPENAI_MODEL_NAME',
  OPENAI_DEPLOYMENT_NAME: 'OPENAI_MODEL_NAME',
  AZURE_OPENAI_ENDPOINT: 'OPENAI_ENDPOINT',
  AZURE_OPENAI_BASE_URL: 'OPENAI_ENDPOINT',
  AZURE_OPENAI_API_KEY: 'OPENAI_API_KEY',
  AZURE_OPENAI_API_VERSION: 'OPENAI_API_VERSION',
  AZURE_OPENAI_DEPLOYMENT: 'OPENAI_MODEL_NAME',
  AZURE_OPENAI_DEPLOYMENT_NAME: 'OPENAI_MODEL_NAME',
}
const AZURES_NAMES = Object.keys(OTHER_NAMES).filter((name) => name.startsWith('AZURE_'))

function modelHint(name: string, env: Environment): string | undefined {
  if (!env[name]) return undefined
  const misspelt = meantModelSetting(name, env)
  if (misspelt !== undefined && isSet(misspelt, env) && env[name] !== env[misspelt]) {
    return `${name} is not read. Did you mean ${misspelt}, which is set to something else? Unset one of them.`
  }
  const other = /^azure_?open_?ai/i.test(name) ? closestName(name, AZURES_NAMES, 2) : name
  const meant = other === undefined ? undefined : OTHER_NAMES[other]
  if (meant === undefined || isSet(meant, env)) return undefined
  return `${name} is not read: the setting is ${meant}.`
}
