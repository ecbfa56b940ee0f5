import * as z from 'zod'
import type { ModelRules, Price } from '../pipeline/index.ts'
import { TARGET_KINDS, type TargetKind, type TargetSettings } from '../targets/index.ts'
import { interned } from './interned.ts'
import { closestName, listText, name, wayText } from './names.ts'
import { highestPrice, type PriceDocument, price, priceFaults, resolvePrice } from './price.ts'
import { bookOf, isReasoning, outputFieldOf, tokenizerOf, unaskedOf } from './price-book.ts'
import { DEFAULT_MODEL } from './route.ts'
import {
  identityOf,
  idsOf,
  kindAndDocument,
  placeOf,
  resolveTargets,
  type Target,
  type TargetDocument,
  type TargetOptions,
  type TargetPlacing,
  targetSchema,
  targetsFor,
} from './target.ts'
import { pricesAt, promisedByAll, type TargetPrices } from './target-price.ts'
import { isVirtual, unaliased, virtualFields } from './virtual-model.ts'

/* A model is a name, and the targets that serve it: interchangeable places, each with its price. */

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
  /** Where a key narrows what its plan lists: refusals say whose word it is. */
  readonly by?: 'key' | undefined
}

/**
 * What holds for a model's requests, of consumers who have these rights: a tier, a hosted tool or a field is promised where the price
 * of each target that may serve them names it.
 */
export function rulesOf({ targets, ...traits }: Traits & Pick<Model, 'targets'>, rights: Rights): ModelRules {
  const { contextWindow, outputField, isOutputFieldKnown, temperature, tokenizer, unasked } = traits
  const { tiers, tools, covers } = promisedByAll(targetsFor(targets, rights))
  const allowed = (list: readonly string[] | undefined) => (name: string) => list === undefined || list.includes(name)
  return {
    contextWindow,
    outputField,
    isOutputFieldKnown,
    temperature,
    tokenizer,
    covers,
    unasked,
    tools: tools.filter(allowed(rights.tools)),
    tiers: tiers.filter(allowed(rights.tiers)),
  }
}

const MOST_ATTEMPTS = 3
const MOST_TIERS = 8

const PERCENT = /^(100|[1-9]?\d)%$/
const PERCENT_RULE = 'must be a percentage from 0% to 100%, such as 10%'

const retryRule = z.strictObject({
  attempts: z
    .int()
    .min(1)
    .max(MOST_ATTEMPTS)
    .optional()
    .describe(`Calls of one request, the first among them (${DEFAULT_RETRY.attempts}).`),
  budget: z
    .string({ error: PERCENT_RULE })
    .regex(PERCENT, PERCENT_RULE)
    .optional()
    .describe('The most calls that are made again, as a share of all requests of a process (10%).'),
})

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
    tiers: z
      .array(name)
      .min(1)
      .max(MOST_TIERS)
      .optional()
      .describe('Service tiers in the order in which they are tried where a request names none: [flex, default].'),
    retry: z
      .union([z.literal(false), retryRule], { error: 'must be false, or {attempts: 3, budget: 10%}' })
      .optional()
      .describe('How often a call that failed before the first byte of its answer is made again. false: never.'),
    fallback: name
      .optional()
      .describe('Another model, which is asked where this one fails, by its own limits and price.'),
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
    ...virtualFields,
  })
}

export type ModelDocuments = Readonly<Record<string, z.infer<ReturnType<typeof modelSchema>>>>

/** What is said of models, as the whole document has it. */
interface ModelsDocument {
  readonly models?: ModelDocuments | undefined
  readonly unpriced?: 'refuse' | 'worst' | undefined
}

/** What the schema can't express, and what this version would not enforce: refused, never ignored. */
export function modelFaults({ models = {}, unpriced }: ModelsDocument): string[] {
  const real = Object.entries(models).filter(([, model]) => !isVirtual(model))
  const faults = real.flatMap(([name, model]) => faultsOf(name, model, unpriced))
  faults.push(...fallbackFaults(models))
  if (unpriced === 'worst' && Object.values(models).every(({ price }) => price === undefined)) {
    faults.push("unpriced: 'worst' is the highest price of any model, and none has one. Give one a price.")
  }
  return faults
}

function faultsOf(
  name: string,
  { targets, price, tiers = [], by }: ModelDocuments[string],
  unpriced: ModelsDocument['unpriced'],
): string[] {
  const at = `models.${name}`
  const faults: string[] = []
  if (by !== undefined) faults.push(`${at}.by: belongs to a split. Remove it.`)
  if (targets === undefined && name !== DEFAULT_MODEL) {
    faults.push(`${at}.targets: missing. Only '${DEFAULT_MODEL}' may go without: the OPENAI_* settings serve it.`)
  }
  if (targets?.every((target) => placeOf(target).weight === 0)) {
    faults.push(`${at}.targets: each has the weight 0, so none would be asked. Give one a weight of at least 1.`)
  }
  if (price !== undefined) faults.push(...priceFaults(price, `${at}.price`))
  for (const [index, target] of (targets ?? []).entries()) {
    if (!placeOf(target).ptu || price !== undefined) continue
    faults.push(`${at}.targets[${index}].ptu: needs ${at}.price, which is what spills over from it costs. Write one.`)
  }
  for (const [index, tier] of tiers.entries()) {
    const place = `${at}.tiers[${index}]`
    if (tiers.indexOf(tier) < index) faults.push(`${place}: '${tier}' stands there twice. Keep the first.`)
    else if (OTHER_USUAL.has(tier)) faults.push(`${place}: the usual tier is called default here. Write default.`)
    else if (tier !== USUAL_TIER && (price !== undefined || unpriced === 'worst') && !isTierPriced(price, tier)) {
      const meant = closestName(tier, [USUAL_TIER, ...Object.keys(price?.tiers ?? {})])
      const hint = meant === undefined ? '' : ` Did you mean '${meant}'?`
      faults.push(
        `${place}: '${tier}' has no price.${hint} Write ${at}.price.tiers.${tier}, such as 0.5 for half the price, or leave the tier out.`,
      )
    }
  }
  return faults
}

const USUAL_TIER = 'default'
/** What services call it too, and no order needs. */
const OTHER_USUAL: ReadonlySet<string> = new Set(['standard', 'auto'])

function isTierPriced({ tiers = {} }: PriceDocument = {}, tier: string): boolean {
  return Object.hasOwn(tiers, tier)
}

function fallbackFaults(models: ModelDocuments): string[] {
  const faults: string[] = []
  const walked = new Set<string>()
  for (const [name, { fallback }] of Object.entries(models)) {
    if (fallback === undefined || isVirtual(models[name])) continue
    const place = `models.${name}.fallback`
    const behind = unaliased(fallback, models)
    if (!knowsModel(models, fallback)) faults.push(`${place}: there is no model '${fallback}' under models.`)
    else if (behind === name) faults.push(`${place}: is the model itself. Name another, or remove it.`)
    else if (models[behind]?.split || models[behind]?.route) {
      faults.push(`${place}: '${fallback}' picks among several, and a fallback is one model. Name that.`)
    } else faults.push(...circleFault(name, models, walked))
  }
  return faults
}

/** @param walked the models whose fallbacks were followed, so that a circle is told once */
function circleFault(start: string, models: ModelDocuments, walked: Set<string>): string[] {
  const path: string[] = []
  for (let at: string | undefined = start; at !== undefined && !walked.has(at); at = fallbackOf(at, models)) {
    walked.add(at)
    path.push(at)
  }
  const again = fallbackOf(path.at(-1) ?? '', models)
  const circle = again === undefined ? [] : path.slice(path.indexOf(again))
  if (again === undefined || !path.includes(again) || circle.length < 2) return []
  return [
    `models.${again}.fallback: comes back to itself: ${wayText([...circle, again])}. Remove one of these fallbacks.`,
  ]
}

/** The model that is asked where another one fails. */
function fallbackOf(name: string, models: ModelDocuments): string | undefined {
  const fallback = Object.hasOwn(models, name) ? models[name]?.fallback : undefined
  return fallback === undefined ? undefined : unaliased(fallback, models)
}

/** Whether callers, routes and limits may name a model: whether it is served depends on the app's settings too. */
export function knowsModel(documents: ModelDocuments | undefined, name: string): boolean {
  return name === DEFAULT_MODEL || (documents !== undefined && Object.hasOwn(documents, name))
}

export interface ModelOptions extends TargetOptions {
  /** The model of the `OPENAI_*` settings, served as `default`; `undefined` where none is configured. */
  readonly defaultTarget: TargetSettings | undefined
}

/** What tells apart requests to a place: texts. */
export type AskedBy = readonly string[]

export interface ResolvedModels {
  /** Those that are served somewhere. */
  readonly models: ReadonlyMap<string, Model>
  /** For each target of the policy's models that is asked, the variables that its secrets are read from, and its other settings. */
  readonly asked: ReadonlyMap<string, readonly AskedBy[]>
}

/** What is wrong with a target goes to `faults`, with its path. */
export function resolveModels(document: ModelsDocument, options: ModelOptions, faults: string[]): ResolvedModels {
  const documents = document.models ?? {}
  const priceOf = resolvePrices(document)
  const models = new Map<string, Model>()
  const asked = new Map<string, readonly AskedBy[]>()
  const { [DEFAULT_MODEL]: ownDefault } = documents
  const { defaultTarget } = options
  const isDefaultSet = defaultTarget !== undefined && !isVirtual(ownDefault)
  const real = Object.keys(documents).filter((name) => !isVirtual(documents[name]))
  for (const name of new Set([...(isDefaultSet ? [DEFAULT_MODEL] : []), ...real])) {
    const own = documents[name]
    const placed = own?.targets
      ? resolveTargets(name, own.targets, options, faults)
      : name === DEFAULT_MODEL && defaultTarget !== undefined
        ? [{ index: 0, settings: defaultTarget, place: placeOf(undefined), variables: [], open: '' }]
        : []
    // Of all of them: an id stays as it is while another target is not asked.
    const ids = idsOf(name, placed, options.targetKinds, faults)
    const targets: Target[] = []
    const askedAs: AskedBy[] = []
    for (const [index, { settings, place, variables, open }] of placed.entries()) {
      const { priority, weight, zone } = place
      if (weight === 0) continue
      const identity = identityOf(settings, options.targetKinds)
      const prices = pricesAt(priceOf(name), place)
      targets.push({ id: ids[index] ?? '', identity, priority, weight, zone, ...prices, settings })
      askedAs.push([...variables, open])
    }
    if (own !== undefined) asked.set(name, askedAs)
    const [first, ...others] = targets
    if (first === undefined) continue
    const servedAs = new Set(placed.map(({ settings }) => settings.model))
    models.set(
      name,
      interned({
        name,
        targets: [first, ...others] as const,
        tiers: own?.tiers,
        retry: resolveRetry(own?.retry),
        fallback: fallbackOf(name, documents),
        ...traitsOf(name, own, [...servedAs], faults),
      }),
    )
  }
  return { models, asked }
}

/** `undefined` for the default, however it is written. */
function resolveRetry(document: ModelDocuments[string]['retry']): RetryRule | undefined {
  if (document === false) return { ...DEFAULT_RETRY, attempts: 1 }
  const { attempts = DEFAULT_RETRY.attempts, budget } = document ?? {}
  const rule = { attempts, budget: budget === undefined ? DEFAULT_RETRY.budget : Number.parseInt(budget, 10) / 100 }
  return rule.attempts === DEFAULT_RETRY.attempts && rule.budget === DEFAULT_RETRY.budget ? undefined : rule
}

/** A target as the document alone tells it. */
export interface OutlinedTarget extends TargetPlacing, TargetPrices {
  /** Its kind, and the name by which it is asked for a model; `undefined` where the app's settings say. */
  readonly kind: string | undefined
  readonly servedAs: string | undefined
}

/** The targets of a model that are asked. */
export function outlineTargets(
  model: ModelDocuments[string] | undefined,
  price: Price | undefined,
  kinds = TARGET_KINDS,
): readonly OutlinedTarget[] {
  const targets: readonly (TargetDocument | undefined)[] = model?.targets ?? [undefined]
  return targets.flatMap((target): readonly OutlinedTarget[] => {
    const place = placeOf(target)
    if (place.weight === 0) return []
    const prices = pricesAt(price, place)
    if (target === undefined) return [{ kind: undefined, servedAs: undefined, ...place, ...prices }]
    const { kind, document } = kindAndDocument(target, kinds)
    return [{ kind: kind.name, servedAs: kind.servedAs(document), ...place, ...prices }]
  })
}

/** A model's price: its own, or what `unpriced` says of those without one. */
export function resolvePrices({ models = {}, unpriced }: ModelsDocument): (name: string) => Price | undefined {
  const prices = new Map(
    Object.entries(models).flatMap(([name, { price }]) => (price ? [[name, resolvePrice(price)] as const] : [])),
  )
  const otherwise = unpriced === 'worst' ? highestPrice([...prices.values()]) : undefined
  return (name) => prices.get(name) ?? otherwise
}

/** The zones of a model's targets that are asked. */
export function zonesOf({ targets = [] }: ModelDocuments[string]): readonly string[] {
  return targets
    .map((target) => placeOf(target))
    .flatMap(({ zone, weight }) => (zone === undefined || weight === 0 ? [] : [zone]))
}

/**
 * What is known of a model that its targets know by these names: they are one model, so that what is known of one name holds for all.
 */
function traitsOf(
  name: string,
  { price, contextWindow, output, temperature, tokenizer }: ModelDocuments[string] = {},
  servedAs: readonly string[],
  faults: string[],
): Traits {
  const { like } = price ?? {}
  const names = like === undefined ? servedAs : [like]
  const fields = new Set(names.map((each) => outputFieldOf(each)).filter((field) => field !== undefined))
  if (output === undefined && fields.size > 1) {
    faults.push(
      `models.${name}.output: missing. Its targets are of models that bound their answers by different fields: ${listText(names)}. Make them two models, or write max_tokens or max_completion_tokens.`,
    )
  }
  const [field] = fields
  const known = output ?? field
  return {
    contextWindow: contextWindow ?? (like === undefined ? undefined : bookOf(like)?.contextWindow),
    outputField: known ?? 'max_tokens',
    isOutputFieldKnown: known === undefined ? undefined : true,
    temperature: temperature ?? !names.some((each) => isReasoning(each)),
    tokenizer: tokenizer ?? (like === undefined ? undefined : tokenizerOf(like)),
    unasked: unaskedOf(like === undefined ? servedAs : [...servedAs, like]),
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
