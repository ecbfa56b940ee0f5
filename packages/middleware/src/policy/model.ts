import { createHash } from 'node:crypto'
import * as z from 'zod'
import { type EgressPolicy, refuseForeignIdentity, settingOf, TargetFault, targetUrl } from './egress.ts'
import { interned } from './interned.ts'
import { azureUrl, isAzureForm, ModelUrlFault, meansV1, OPENAI_HOST, openaiUrl } from './model-url.ts'
import { DEFAULT_MODEL } from './route.ts'

/* A model is a name, and the targets that serve it: interchangeable places, each with its price. */

/** Where a target is, and what it is asked by, resolved: no environment names are left in it. */
export type TargetSettings =
  | {
      readonly kind: 'azure'
      readonly endpoint: string
      /** The name to send as `model`. */
      readonly model: string
      /** A dated API; `undefined` for `/openai/v1/`. */
      readonly apiVersion: string | undefined
      /** `undefined` for managed identity. */
      readonly key: string | undefined
    }
  | {
      readonly kind: 'openai'
      readonly baseUrl: string
      readonly model: string
      /** `undefined` where the server asks for none. */
      readonly key: string | undefined
    }

/** Whole pico-dollars a token: USD per million tokens × 1,000,000. */
export interface Price {
  readonly input: number
  /** Never above `input`. */
  readonly cachedInput: number
  readonly output: number
}

export interface Target {
  /** The same for as long as its service, name and API are: over revisions, processes and changes of its key. No secret is in it. */
  readonly id: string
  /** Tells apart targets that may answer differently; part of every cache key. */
  readonly identity: string
  /** Targets of the lowest number are asked first. */
  readonly priority: number
  /** Its share among the targets of its priority. */
  readonly weight: number
  /** `undefined` where the policy names none. */
  readonly zone: string | undefined
  /** `undefined` where a limit on money must refuse it. */
  readonly price: Price | undefined
  readonly settings: TargetSettings
}

export interface Model {
  readonly name: string
  readonly targets: readonly [Target, ...Target[]]
  /** The model to ask where this one fails; `undefined` for none. */
  readonly fallback: string | undefined
  /** The most tokens of one request, prompt and answer together; `undefined` where nobody said. */
  readonly contextWindow: number | undefined
}

/** What is known of a model as far as an operation needs it. */
export interface ModelRules {
  readonly contextWindow: number | undefined
  /** The field by which the length of an answer is bounded where a request has none. */
  readonly outputField: 'max_tokens' | 'max_completion_tokens' | 'max_output_tokens'
  /** Whether it takes a temperature. */
  readonly temperature: boolean
  /** The hosted tools that may be used. */
  readonly tools: readonly string[]
  /** The service tiers that may be asked for, in the order in which they are tried. */
  readonly tiers: readonly string[]
}

/** The policy says nothing yet of fields, tools and tiers: these hold for every model. */
export function rulesOf({ contextWindow }: Pick<Model, 'contextWindow'>): ModelRules {
  return { contextWindow, outputField: 'max_tokens', temperature: true, tools: [], tiers: [] }
}

/** A value of an environment variable; a secret is never written into a policy. */
const fromEnv = z.strictObject(
  { env: z.string().regex(/^[A-Z][A-Z0-9_]*$/, 'must be the name of an environment variable, such as OPENAI_API_KEY') },
  { error: 'must be {env: NAME}: a secret is never written into a policy' },
)

const endpoint = z.union([z.url({ abort: true }), fromEnv], { error: 'must be a URL, or {env: NAME}' })

const target = z.union(
  [
    z
      .strictObject({
        azure: z.strictObject({
          endpoint: endpoint.describe('https://<resource>.openai.azure.com'),
          deployment: z.string().min(1).max(128),
          apiVersion: z.string().min(1).max(64).optional().describe('A dated API; absent: /openai/v1/.'),
          key: fromEnv.optional().describe('Absent: managed identity.'),
        }),
      })
      .describe('An Azure OpenAI deployment.'),
    z
      .strictObject({
        openai: z.strictObject({
          baseUrl: endpoint.optional().describe('Any OpenAI-compatible server; absent: api.openai.com.'),
          model: z.string().min(1).max(128),
          key: fromEnv.optional(),
        }),
      })
      .describe('OpenAI, or a server that speaks its language.'),
  ],
  { error: 'must be {azure: …} or {openai: …}' },
)

/** USD per million tokens. No finer than six decimals, so that a token's price is a whole number of pico-dollars. */
const dollars = z
  .number()
  .min(0)
  .max(10_000)
  .refine(
    (usd) => Math.round(usd * 1e6) / 1e6 === usd,
    'must have at most 6 decimals: it is dollars per million tokens',
  )

const price = z
  .strictObject({
    input: dollars.describe('What the model reads.'),
    output: dollars.describe('What the model writes.'),
    cachedInput: dollars.optional().describe("What the model reads from its provider's cache (as input)."),
  })
  .describe('USD per million tokens, with at most 6 decimals.')

export const model = z.strictObject({
  targets: z
    .array(target)
    .min(1)
    .max(16)
    .optional()
    .describe("Where it is served. Only 'default' may go without: the OPENAI_* settings serve it then."),
  price: price.optional(),
  contextWindow: z
    .int()
    .min(1)
    .max(100_000_000)
    .optional()
    .describe('The most tokens of one request, prompt and answer together.'),
})

export type ModelDocuments = Readonly<Record<string, z.infer<typeof model>>>
type TargetDocument = z.infer<typeof target>
type PriceDocument = z.infer<typeof price>

/** What is said of models, as the whole document has it. */
interface ModelsDocument {
  readonly models?: ModelDocuments | undefined
  readonly unpriced?: 'refuse' | 'worst' | undefined
}

/** What the schema can't express, and what this version would not enforce: refused, never ignored. */
export function modelFaults({ models = {}, unpriced }: ModelsDocument): string[] {
  const faults = Object.entries(models).flatMap(([name, model]) => faultsOf(name, model))
  if (unpriced === 'worst' && Object.values(models).every(({ price }) => price === undefined)) {
    faults.push("unpriced: 'worst' is the highest price of any model, and none has one. Give one a price.")
  }
  return faults
}

function faultsOf(name: string, { targets, price }: ModelDocuments[string]): string[] {
  const faults: string[] = []
  if (targets === undefined && name !== DEFAULT_MODEL) {
    faults.push(
      `models.${name}.targets: missing. Only '${DEFAULT_MODEL}' may go without: the OPENAI_* settings serve it.`,
    )
  }
  if (targets !== undefined && targets.length > 1) {
    faults.push(`models.${name}.targets: several targets are not used by this version yet. Keep one.`)
  }
  // A request is charged `input` for all of its prompt before the provider says what was cached.
  if (price?.cachedInput !== undefined && price.cachedInput > price.input) {
    faults.push(`models.${name}.price.cachedInput: must not be above input. Raise input or lower cachedInput.`)
  }
  return faults
}

/** Whether callers, routes and limits may name a model: whether it is served depends on the app's settings too. */
export function knowsModel(documents: ModelDocuments | undefined, name: string): boolean {
  return name === DEFAULT_MODEL || (documents !== undefined && Object.hasOwn(documents, name))
}

export interface ModelOptions {
  /** What targets may reach and read. */
  readonly bounds: EgressPolicy
  /** The model of the `OPENAI_*` settings, served as `default`; `undefined` where none is configured. */
  readonly defaultTarget: TargetSettings | undefined
}

/** The models that are served somewhere; what is wrong with a target goes to `faults`, with its path. */
export function resolveModels(document: ModelsDocument, options: ModelOptions, faults: string[]): Map<string, Model> {
  const documents = document.models ?? {}
  const priceOf = resolvePrices(document)
  const models = new Map<string, Model>()
  for (const [name, settings] of resolveTargets(documents, options, faults)) {
    const identity = identityOf(settings)
    const target = {
      id: idOf(settings),
      identity,
      priority: 1,
      weight: 1,
      zone: undefined,
      price: priceOf(name),
      settings,
    }
    const contextWindow = documents[name]?.contextWindow
    models.set(name, interned({ name, targets: [target] as const, fallback: undefined, contextWindow }))
  }
  return models
}

/** Which model of which service answers: no key is part of it, and no secret. */
export function identityOf(settings: TargetSettings): string {
  const { kind, model } = settings
  const url = new URL(kind === 'azure' ? settings.endpoint : settings.baseUrl)
  const place = isSimulated(url) ? 'simulated' : url.host + url.pathname
  return JSON.stringify([kind, place, model, kind === 'azure' ? (settings.apiVersion ?? 'v1') : ''])
}

/** The simulated model's port changes from run to run, and what it answers doesn't. It says what it is by its path. */
function isSimulated({ hostname, pathname }: URL): boolean {
  return hostname === '127.0.0.1' && pathname.startsWith('/simulated/')
}

/** For each of the policy's models, the variables that its keys are read from. */
export function variablesOf({ models = {} }: ModelsDocument): ReadonlyMap<string, readonly string[]> {
  const keyOf = (target: TargetDocument) => ('azure' in target ? target.azure.key : target.openai.key)
  return new Map(
    Object.entries(models).map(([name, { targets = [] }]) => [
      name,
      targets.map(keyOf).flatMap((key) => (key === undefined ? [] : [key.env])),
    ]),
  )
}

/** The name by which a model is asked for at its server; `undefined` for one that the settings serve. */
export function servedAs(model: ModelDocuments[string] | undefined): string | undefined {
  const [target] = model?.targets ?? []
  return target && ('azure' in target ? target.azure.deployment : target.openai.model)
}

/** A model's price: its own, or what `unpriced` says of those without one. */
export function resolvePrices({ models = {}, unpriced }: ModelsDocument): (name: string) => Price | undefined {
  const prices = new Map(
    Object.entries(models).flatMap(([name, { price }]) => (price ? [[name, resolvePrice(price)] as const] : [])),
  )
  const otherwise = unpriced === 'worst' ? worstPrice([...prices.values()]) : undefined
  return (name) => prices.get(name) ?? otherwise
}

/** One USD per million tokens is a millionth of a dollar a token, which is a million pico-dollars. */
const PICO_DOLLARS = 1e6

function resolvePrice({ input, output, cachedInput = input }: PriceDocument): Price {
  const a = (usd: number) => Math.round(usd * PICO_DOLLARS)
  return { input: a(input), cachedInput: a(cachedInput), output: a(output) }
}

/** The highest of each part, with nothing cheaper for being cached; `undefined` where no model has a price. */
function worstPrice(prices: readonly Price[]): Price | undefined {
  if (prices.length === 0) return undefined
  const input = Math.max(...prices.map((price) => price.input))
  return { input, cachedInput: input, output: Math.max(...prices.map((price) => price.output)) }
}

function resolveTargets(
  documents: ModelDocuments,
  { bounds, defaultTarget }: ModelOptions,
  faults: string[],
): Map<string, TargetSettings> {
  const targets = new Map<string, TargetSettings>()
  if (defaultTarget !== undefined) targets.set(DEFAULT_MODEL, defaultTarget)
  for (const [name, model] of Object.entries(documents)) {
    for (const [index, target] of (model.targets ?? []).entries()) {
      try {
        targets.set(name, resolveTarget(target, bounds))
      } catch (fault) {
        if (!(fault instanceof TargetFault)) throw fault
        faults.push(`models.${name}.targets[${index}]: ${fault.message}`)
      }
    }
  }
  return targets
}

/**
 * @throws TargetFault for a variable that may not be read or is not set, for a host that may not be reached, and for a URL
 * that no model is served under.
 */
function resolveTarget(document: TargetDocument, egress: EgressPolicy): TargetSettings {
  if ('azure' in document) {
    const { endpoint, deployment, apiVersion, key } = document.azure
    const url = targetUrl(settingOf(endpoint, egress, 'endpoint'), egress)
    const secret = key && settingOf(key, egress, 'key')
    if (secret === undefined) refuseForeignIdentity(url)
    // The policy's own deployment counts: several models may be read from one resource's URL.
    const { endpoint: resource, apiVersion: dated } = normalised(() => azureUrl(url))
    const version = apiVersion ?? dated
    return {
      kind: 'azure',
      endpoint: resource.href,
      model: deployment,
      apiVersion: version !== undefined && meansV1(version) ? undefined : version,
      key: secret,
    }
  }
  const { baseUrl, model, key } = document.openai
  const url = targetUrl(
    baseUrl === undefined ? `https://${OPENAI_HOST}/v1` : settingOf(baseUrl, egress, 'baseUrl'),
    egress,
  )
  if (isAzureForm(url)) {
    throw new TargetFault(
      'the baseUrl is an Azure endpoint. Write azure: {endpoint: …, deployment: …} in place of openai.',
    )
  }
  const base = normalised(() => openaiUrl(url))
  return { kind: 'openai', baseUrl: base.href, model, key: key && settingOf(key, egress, 'key') }
}

function normalised<T>(read: () => T): T {
  try {
    return read()
  } catch (fault) {
    throw fault instanceof ModelUrlFault ? new TargetFault(`the endpoint ${fault.message}`) : fault
  }
}

/** Enough of a hash that no two targets of a policy share it: 48 bits. */
const ID_DIGITS = 12

/** Service, name and a hash of the place: it goes to logs, where an address of the network's own has no business. */
function idOf(settings: TargetSettings): string {
  const { kind, model } = settings
  const [url, version] = kind === 'azure' ? [settings.endpoint, settings.apiVersion ?? 'v1'] : [settings.baseUrl, '']
  const place = JSON.stringify([kind, url.replace(/\/+$/, ''), model, version])
  const digest = createHash('sha256').update(place).digest('hex')
  return `${kind}:${model.replace(/[^\w.-]/g, '_').slice(0, 40)}:${digest.slice(0, ID_DIGITS)}`
}
