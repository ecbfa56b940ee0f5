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
import { listText, name as nameSchema } from './names.ts'
import { highestPrice, price, priceFaults, resolvePrice } from './price.ts'
import { bookOf, isReasoning, outputFieldOf, tokenizerOf, unaskedOf } from './price-book.ts'
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
  /** What is served here costs; `undefined` where a limit on money must refuse it. */
  readonly price: Price | undefined
  /** What is served elsewhere in its place costs; `undefined` where that is the same. */
  readonly spilloverPrice?: Price | undefined
  readonly settings: TargetSettings
}

/** How often a call that failed before the first byte of its answer is made again. */
export interface RetryRule {
  /** Calls of one request, the first among them. */
  readonly attempts: number
  /** The most that are made again, as a share of all requests of a process. */
  readonly budget: number
}

export const DEFAULT_RETRY: RetryRule = { attempts: 3, budget: 0.1 }

export interface Model {
  readonly name: string
  readonly targets: readonly [Target, ...Target[]]
  /** Service tiers in the order in which they are tried where the caller names none; `undefined` leaves that to the service. */
  readonly tiers?: readonly string[] | undefined
  /** `DEFAULT_RETRY` where it is left out. */
  readonly retry?: RetryRule | undefined
  /** The model to ask where this one fails; `undefined` for none. */
  readonly fallback: string | undefined
  /** The most tokens of one request, prompt and answer together; `undefined` where nobody said. */
  readonly contextWindow: number | undefined
  /** By which field an answer's length is bounded, and whether that is known. */
  readonly outputField: ModelRules['outputField']
  readonly isOutputFieldKnown?: ModelRules['isOutputFieldKnown']
  /** Whether it takes a temperature. */
  readonly temperature: boolean
  /** The vocabulary by which it counts; `undefined` where nobody said. */
  readonly tokenizer?: ModelRules['tokenizer']
  /** What it bills unasked, where that is known. */
  readonly unasked?: ModelRules['unasked']
}

/** What is known of a model: by the policy, the book, or the name that its service has for it. */
type Traits = Pick<
  Model,
  'contextWindow' | 'outputField' | 'isOutputFieldKnown' | 'temperature' | 'tokenizer' | 'unasked'
>

/** What a plan lets its consumers use; each list `undefined` where that is all. */
export interface Rights {
  readonly models: readonly string[] | undefined
  readonly tiers: readonly string[] | undefined
  readonly tools: readonly string[] | undefined
  /** The zones that nothing of theirs leaves; a target without one is in none. */
  readonly zones?: readonly string[] | undefined
}

/** What holds for a model's requests, of consumers who have these rights. */
export function rulesOf({ targets, ...traits }: Traits & Pick<Model, 'targets'>, rights: Rights): ModelRules {
  const { contextWindow, outputField, isOutputFieldKnown, temperature, tokenizer, unasked } = traits
  const { tiers = {}, tools = {}, covers } = dearestPrice(targets[0]) ?? {}
  const allowed = (list: readonly string[] | undefined) => (name: string) => list === undefined || list.includes(name)
  return {
    contextWindow,
    outputField,
    isOutputFieldKnown,
    temperature,
    tokenizer,
    covers,
    unasked,
    tools: Object.keys(tools).filter(allowed(rights.tools)),
    tiers: Object.keys(tiers).filter(allowed(rights.tiers)),
  }
}

/** The dearest at which a target's requests may be served: what spills over costs more than what has room. */
export function dearestPrice({ price, spilloverPrice }: Pick<Target, 'price' | 'spilloverPrice'>): Price | undefined {
  return spilloverPrice ?? price
}

/** What a target of any kind may say. */
const anyTarget = {
  ptu: z
    .boolean()
    .optional()
    .describe('Throughput is provisioned here: tokens cost nothing more. What spills over costs the model’s price.'),
  zone: nameSchema
    .optional()
    .describe('Where it is, such as eu: tokens cost as many times as much as the price’s zone says.'),
}

/** Where a model is served: a map of the field that names the kind, and of what any target may say. */
function targetSchema(kinds: readonly TargetKind[]) {
  const forms = kinds.map(({ name }) => `{${name}: …}`)
  return z.union(
    kinds.map(({ name, document, description }) =>
      z.strictObject({ [name]: document, ...anyTarget }).describe(description),
    ),
    { error: `must be ${listText(forms, 'or')}` },
  )
}

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
      .describe(
        'The most tokens of one request, prompt and answer together. Of a price that is like one in the book, its own.',
      ),
    output: z
      .enum(['max_tokens', 'max_completion_tokens'])
      .optional()
      .describe(
        'The field that bounds its answers (max_completion_tokens for reasoning models of OpenAI, by their name).',
      ),
    temperature: z
      .boolean()
      .optional()
      .describe('Whether it takes a temperature (false for reasoning models of OpenAI, by their name).'),
    tokenizer: z
      .enum(['o200k_base'])
      .optional()
      .describe(
        'The vocabulary by which it counts tokens, so that large prompts are reserved by their tokens, not bytes.',
      ),
  })
}

export type ModelDocuments = Readonly<Record<string, z.infer<ReturnType<typeof modelSchema>>>>
type TargetDocument = z.infer<ReturnType<typeof targetSchema>>

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
  if (price !== undefined) faults.push(...priceFaults(price, `models.${name}.price`))
  for (const [index, target] of (targets ?? []).entries()) {
    const { ptu } = target as PlaceDocument
    if (!ptu || price !== undefined) continue
    faults.push(
      `models.${name}.targets[${index}].ptu: needs models.${name}.price, which is what spills over from it costs. Write one.`,
    )
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
    const document = documents[name]
    const { ptu, zone } = placeOf(document)
    const target = {
      id: idOf(settings, options.targetKinds),
      identity: identityOf(settings, options.targetKinds),
      priority: 1,
      weight: 1,
      zone,
      ...pricesAt(priceOf(name), { ptu, zone }),
      settings,
    }
    models.set(
      name,
      interned({ name, targets: [target] as const, fallback: undefined, ...traitsOf(document, settings.model) }),
    )
  }
  return { models, secrets }
}

/** Which model of which service answers: no key is part of it, and no secret. */
export function identityOf(settings: TargetSettings, kinds = TARGET_KINDS): string {
  const { kind, model } = settings
  const { url, api } = kindOf(kinds, kind).place(settings)
  const parsed = new URL(url)
  const place = isSimulated(url) ? 'simulated' : parsed.host + parsed.pathname
  return JSON.stringify([kind, place, model, api])
}

/** The simulated model's port changes from run to run, and what it answers doesn't. It says what it is by its path. */
export function isSimulated(url: string): boolean {
  const { hostname, pathname = '' } = URL.parse(url) ?? {}
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
  const otherwise = unpriced === 'worst' ? highestPrice([...prices.values()]) : undefined
  return (name) => prices.get(name) ?? otherwise
}

/** What a target may say, whatever its kind. */
type PlaceDocument = { readonly ptu?: boolean | undefined; readonly zone?: string | undefined }

/** What a model's target says beside its place. */
function placeOf(model: ModelDocuments[string] | undefined): {
  readonly ptu: boolean
  readonly zone: string | undefined
} {
  const { ptu = false, zone } = (model?.targets?.[0] ?? {}) as PlaceDocument
  return { ptu, zone }
}

/** What a target's tokens cost, by its model's price. */
export function pricesAt(
  price: Price | undefined,
  { ptu, zone }: { readonly ptu: boolean; readonly zone: string | undefined },
): Pick<Target, 'price' | 'spilloverPrice'> {
  const listed = price && zone === undefined ? withoutZone(price) : price
  if (!ptu || listed === undefined) return { price: listed, spilloverPrice: undefined }
  return { price: provisioned(listed), spilloverPrice: listed }
}

function withoutZone({ zone: _, ...price }: Price): Price {
  return price
}

/** Tokens of every kind and tier are paid for already; calls of hosted tools are not. */
function provisioned({ tools, tiers }: Price): Price {
  return {
    rates: { input: 0, output: 0 },
    ...(tiers === undefined ? {} : { tiers: Object.fromEntries(Object.keys(tiers).map((tier) => [tier, 0])) }),
    ...(tools === undefined ? {} : { tools }),
  }
}

function traitsOf(
  { price, contextWindow, output, temperature, tokenizer }: ModelDocuments[string] = {},
  servedAs: string,
): Traits {
  const reasons = isReasoning(price?.like ?? servedAs)
  const known = output ?? outputFieldOf(price?.like ?? servedAs)
  return {
    contextWindow: contextWindow ?? (price?.like === undefined ? undefined : bookOf(price.like)?.contextWindow),
    outputField: known ?? 'max_tokens',
    isOutputFieldKnown: known === undefined ? undefined : true,
    temperature: temperature ?? !reasons,
    tokenizer: tokenizer ?? (price?.like === undefined ? undefined : tokenizerOf(price.like)),
    unasked: unaskedOf(price?.like === undefined ? [servedAs] : [servedAs, price.like]),
  }
}

/** By whose word a model's price is: the policy's own, that of a model of the book, or `unpriced: worst`. */
export type PricedBy = { readonly by: 'policy' | 'worst' } | { readonly by: 'book'; readonly like: string }

/** `undefined` where it has none. */
export function pricedBy({ models = {}, unpriced }: ModelsDocument, name: string): PricedBy | undefined {
  const price = models[name]?.price
  if (price === undefined) return unpriced === 'worst' ? { by: 'worst' } : undefined
  const { like } = price
  const listed = Object.keys(bookOf(like ?? '')?.price ?? {}) as (keyof typeof price)[]
  // A `like` also brings what is no price, such as the context window: it may stand where each price is the policy's own.
  return like === undefined || listed.every((field) => price[field] !== undefined)
    ? { by: 'policy' }
    : { by: 'book', like }
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
  return { kind: kindOf(kinds, name), document: (target as Readonly<Record<string, unknown>>)[name] }
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
