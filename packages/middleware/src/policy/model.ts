import { createHash } from 'node:crypto'
import * as z from 'zod'
import type { ModelRules, Price } from '../pipeline/index.ts'
import {
  kindOf,
  ModelUrlFault,
  TARGET_KINDS,
  TargetFault,
  type TargetKind,
  type TargetSettings,
} from '../targets/index.ts'
import { type EgressPolicy, targetContext } from './egress.ts'
import { interned } from './interned.ts'
import { listText } from './names.ts'
import { DEFAULT_MODEL } from './route.ts'

/* A model is a name, and the targets that serve it: interchangeable places, each with its price. */

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

/** The policy says nothing yet of fields, tools and tiers: these hold for every model. */
export function rulesOf({ contextWindow }: Pick<Model, 'contextWindow'>): ModelRules {
  return { contextWindow, outputField: 'max_tokens', temperature: true, tools: [], tiers: [] }
}

/** Where a model is served: a map of one field, which names the kind. */
function targetSchema(kinds: readonly TargetKind[]) {
  const forms = kinds.map(({ name }) => `{${name}: …}`)
  return z.union(
    kinds.map(({ name, document, description }) => z.strictObject({ [name]: document }).describe(description)),
    { error: `must be ${listText(forms, 'or')}` },
  )
}

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

/** @param kinds that a target may be of */
export function modelSchema(kinds: readonly TargetKind[]) {
  return z.strictObject({
    targets: z
      .array(targetSchema(kinds))
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
}

export type ModelDocuments = Readonly<Record<string, z.infer<ReturnType<typeof modelSchema>>>>
type TargetDocument = z.infer<ReturnType<typeof targetSchema>>
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

/** The kinds of target that the composition has. */
export interface KnownKinds {
  /** Those that ship with Tollgate by default. */
  readonly targetKinds?: readonly TargetKind[] | undefined
}

export interface ModelOptions extends KnownKinds {
  /** What targets may reach and read. */
  readonly bounds: EgressPolicy
  /** The model of the `OPENAI_*` settings, served as `default`; `undefined` where none is configured. */
  readonly defaultTarget: TargetSettings | undefined
}

export interface ResolvedModels {
  /** Those that are served somewhere. */
  readonly models: ReadonlyMap<string, Model>
  /** For each of the policy's models, the variables that its secrets are read from. */
  readonly secrets: ReadonlyMap<string, readonly string[]>
}

/** What is wrong with a target goes to `faults`, with its path. */
export function resolveModels(document: ModelsDocument, options: ModelOptions, faults: string[]): ResolvedModels {
  const documents = document.models ?? {}
  const priceOf = resolvePrices(document)
  const models = new Map<string, Model>()
  const { targets, secrets } = resolveTargets(documents, options, faults)
  for (const [name, settings] of targets) {
    const target = {
      id: idOf(settings, options.targetKinds),
      identity: identityOf(settings, options.targetKinds),
      priority: 1,
      weight: 1,
      zone: undefined,
      price: priceOf(name),
      settings,
    }
    const contextWindow = documents[name]?.contextWindow
    models.set(name, interned({ name, targets: [target] as const, fallback: undefined, contextWindow }))
  }
  return { models, secrets }
}

/** Which model of which service answers: no key is part of it, and no secret. */
export function identityOf(settings: TargetSettings, kinds = TARGET_KINDS): string {
  const { kind, model } = settings
  const { url, api } = kindOf(kinds, kind).place(settings)
  const parsed = new URL(url)
  const place = isSimulated(parsed) ? 'simulated' : parsed.host + parsed.pathname
  return JSON.stringify([kind, place, model, api])
}

/** The simulated model's port changes from run to run, and what it answers doesn't. It says what it is by its path. */
function isSimulated({ hostname, pathname }: URL): boolean {
  return hostname === '127.0.0.1' && pathname.startsWith('/simulated/')
}

/** The name by which a model is asked for at its server; `undefined` for one that the settings serve. */
export function servedAs(model: ModelDocuments[string] | undefined, kinds = TARGET_KINDS): string | undefined {
  const [target] = model?.targets ?? []
  if (target === undefined) return undefined
  const { kind, document } = kindAndDocument(target, kinds)
  return kind.servedAs(document)
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
  return { rates: { input: a(input), cachedInput: a(cachedInput), output: a(output) } }
}

/** The highest of each part, with nothing cheaper for being cached; `undefined` where no model has a price. */
function worstPrice(prices: readonly Price[]): Price | undefined {
  if (prices.length === 0) return undefined
  const input = Math.max(...prices.map(({ rates }) => rates.input ?? 0))
  return { rates: { input, cachedInput: input, output: Math.max(...prices.map(({ rates }) => rates.output ?? 0)) } }
}

function resolveTargets(
  documents: ModelDocuments,
  { bounds, defaultTarget, targetKinds = TARGET_KINDS }: ModelOptions,
  faults: string[],
) {
  const targets = new Map<string, TargetSettings>()
  const secrets = new Map<string, readonly string[]>()
  if (defaultTarget !== undefined) targets.set(DEFAULT_MODEL, defaultTarget)
  for (const [name, model] of Object.entries(documents)) {
    const variables: string[] = []
    secrets.set(name, variables)
    for (const [index, target] of (model.targets ?? []).entries()) {
      const { kind, document } = kindAndDocument(target, targetKinds)
      const context = targetContext(bounds, targetKinds, variables)
      try {
        const settings = kind.resolve(document, context)
        // Once more, for a kind that left it out.
        context.url(kind.place(settings).url)
        targets.set(name, settings)
      } catch (fault) {
        faults.push(`models.${name}.targets[${index}]: ${wordsOf(fault)}`)
      }
    }
  }
  return { targets, secrets }
}

function kindAndDocument(target: TargetDocument, kinds: readonly TargetKind[]) {
  const name = Object.keys(target).find((field) => kinds.some((kind) => kind.name === field)) ?? ''
  return { kind: kindOf(kinds, name), document: target[name] }
}

/** @throws what is no fault of the document */
function wordsOf(fault: unknown): string {
  if (fault instanceof ModelUrlFault) return `the endpoint ${fault.message}`
  if (fault instanceof TargetFault) return fault.message
  throw fault
}

/** Enough of a hash that no two targets of a policy share it: 48 bits. */
const ID_DIGITS = 12

/** Service, name and a hash of the place: it goes to logs, where an address of the network's own has no business. */
function idOf(settings: TargetSettings, kinds = TARGET_KINDS): string {
  const { kind, model } = settings
  const { url, api } = kindOf(kinds, kind).place(settings)
  const place = JSON.stringify([kind, url.replace(/\/+$/, ''), model, api])
  const digest = createHash('sha256').update(place).digest('hex')
  return `${kind}:${model.replace(/[^\w.-]/g, '_').slice(0, 40)}:${digest.slice(0, ID_DIGITS)}`
}
