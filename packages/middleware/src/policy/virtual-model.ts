import * as z from 'zod'
import { interned } from './interned.ts'
import { listText, name, wayText } from './names.ts'

/*
 * A virtual model is a name that callers use as they use a model's, and that has no targets of its own: which model serves is
 * decided for each request. A model that was picked is asked under its own name, limits, cache, budget and price.
 */

/** Another name for a model, or for a virtual one. */
export interface AliasModel {
  readonly kind: 'alias'
  readonly name: string
  readonly model: string
}

/** Several models, each with its share of the requests: an A/B test. */
export interface SplitModel {
  readonly kind: 'split'
  readonly name: string
  readonly parts: readonly { readonly model: string; readonly weight: number }[]
  /** What stays with one part: a consumer with all of its requests, or each request (the same body always goes to the same). */
  readonly by: 'consumer' | 'request'
}

/** A small model, and a large one for what needs it. */
export interface RuledModel {
  readonly kind: 'route'
  readonly name: string
  readonly small: string
  readonly large: string
  /** The first that holds decides; where none does, the small one serves. */
  readonly rules: readonly SizeRule[]
}

/** Holds where all of what it says does. */
export interface SizeRule {
  /** The prompt has at least so many tokens, as estimated. */
  readonly tokens?: number | undefined
  /** The conversation has at least so many messages. */
  readonly turns?: number | undefined
  /** The prompt holds code; it doesn't, for `false`. So for the others. */
  readonly code?: boolean | undefined
  /** Tools are offered. */
  readonly tools?: boolean | undefined
  /** The answer is asked for by a JSON schema. */
  readonly schema?: boolean | undefined
  /** The caller sent this header, whose name is in lower case, with exactly this value where one is given. */
  readonly header?: { readonly name: string; readonly value: string | undefined } | undefined
  readonly use: 'small' | 'large'
}

export type VirtualModel = AliasModel | SplitModel | RuledModel

/** The virtual models of a policy; those of one without any may be left out. */
export type VirtualModels = ReadonlyMap<string, VirtualModel>

/** The names that a virtual model picks from, each of a model or of another virtual one. */
export function picksOf(virtual: VirtualModel): readonly string[] {
  switch (virtual.kind) {
    case 'alias':
      return [virtual.model]
    case 'split':
      return virtual.parts.map(({ model }) => model)
    case 'route':
      return [virtual.small, virtual.large]
  }
}

/** The models that a name may come to, each once: a model's own name comes to itself. */
export function modelsBehind(name: string, virtualModels: VirtualModels = NO_VIRTUAL_MODELS): readonly string[] {
  const found = new Set<string>()
  const seen = new Set<string>()
  function follow(each: string): void {
    if (seen.has(each)) return
    seen.add(each)
    const virtual = virtualModels.get(each)
    if (virtual === undefined) found.add(each)
    else for (const pick of picksOf(virtual)) follow(pick)
  }
  follow(name)
  return [...found]
}

const NO_VIRTUAL_MODELS: VirtualModels = new Map()

/** Adds to a list of names the aliases of each, and the name that each alias stands for: who may name one may name the others. */
export function withAliases(virtualModels: VirtualModels): (names: readonly string[]) => readonly string[] {
  /** By the name that aliases stand for, that name and all of them. */
  const synonyms = new Map<string, string[]>()
  for (const virtual of virtualModels.values()) {
    if (virtual.kind !== 'alias') continue
    const known = synonyms.get(virtual.model) ?? [virtual.model]
    synonyms.set(virtual.model, [...known, virtual.name])
  }
  return (names) => {
    const all = new Set(names)
    for (const name of names) {
      const virtual = virtualModels.get(name)
      for (const each of synonyms.get(virtual?.kind === 'alias' ? virtual.model : name) ?? []) all.add(each)
    }
    return [...all]
  }
}

/** What a virtual model is, in a few words: `an alias of chat`, `a split of chat (90) and lambda (10) by consumer`. @param most parts of a split that are named */
export function virtualText(virtual: VirtualModel, { most }: { readonly most?: number } = {}): string {
  switch (virtual.kind) {
    case 'alias':
      return `an alias of ${virtual.model}`
    case 'split': {
      const parts = virtual.parts.map(({ model, weight }) => `${model} (${weight})`)
      return `a split of ${listText(parts, 'and', most)} by ${virtual.by}`
    }
    case 'route':
      return `a route to ${virtual.small} or ${virtual.large}`
  }
}

/** Shares are of their sum. */
const MOST_WEIGHT = 1_000
const MOST_PARTS = 16
const MOST_RULES = 32

/** A name as RFC 9110 has it, in either case. */
const HEADER_NAME = /^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}$/

/** Their values are keys, and a policy holds none. */
const SECRET_HEADERS: ReadonlySet<string> = new Set([
  'authorization',
  'proxy-authorization',
  'cookie',
  'api-key',
  'x-api-key',
  'ocp-apim-subscription-key',
  'x-functions-key',
])
/** What App Service's authentication adds: who its caller is, and that caller's tokens. */
const OF_EASY_AUTH = /^x-ms-(?:client-principal|token-)/

function isSecretHeader(name: string): boolean {
  return SECRET_HEADERS.has(name) || OF_EASY_AUTH.test(name)
}

const rule = z.strictObject({
  tokens: z.int().min(1).max(100_000_000).optional().describe('The prompt has at least so many tokens, as estimated.'),
  turns: z.int().min(1).max(100_000).optional().describe('The conversation has at least so many messages.'),
  code: z.boolean().optional().describe('The prompt holds code (true), or none (false).'),
  tools: z.boolean().optional().describe('Tools are offered, or none.'),
  schema: z.boolean().optional().describe('The answer is asked for by a JSON schema, or by none.'),
  header: z
    .strictObject({
      name: z.string().regex(HEADER_NAME, 'must be the name of a header, such as x-size'),
      value: z.string().min(1).max(256).optional().describe('Absent: any.'),
    })
    .optional()
    .describe('The caller sent this header.'),
  use: z.enum(['small', 'large']).optional().describe('Which model serves then (large).'),
})

/** What makes a model a virtual one. */
export const virtualFields = {
  alias: name.optional().describe('Another name for this model. It has nothing else of its own.'),
  split: z
    .record(name, z.int().min(0).max(MOST_WEIGHT))
    .optional()
    .describe('Several models, each with its share of the requests: {chat: 90, lambda: 10}.'),
  by: z
    .enum(['consumer', 'request'])
    .optional()
    .describe('What stays with one part of a split: a consumer (the default), or each request by itself.'),
  route: z
    .strictObject({
      small: name.describe('The model that serves unless a rule says otherwise.'),
      large: name.describe('The model for what needs it.'),
      rules: z
        .array(rule.describe('Holds where all of what it says does: {tools: true, turns: 10}.'))
        .min(1)
        .max(MOST_RULES)
        .describe('The first that holds decides.'),
    })
    .optional()
    .describe('A small model, and a large one for what needs it.'),
} as const

type RuleDocument = z.infer<typeof rule>

/** A model of the document, as far as it may be a virtual one. */
export interface VirtualDocument {
  readonly alias?: string | undefined
  readonly split?: Readonly<Record<string, number>> | undefined
  readonly by?: 'consumer' | 'request' | undefined
  readonly route?:
    | { readonly small: string; readonly large: string; readonly rules: readonly RuleDocument[] }
    | undefined
}

type Documents = Readonly<Record<string, VirtualDocument>>

const KINDS = ['alias', 'split', 'route'] as const

/** The kinds of virtual model that a document says it is: none of a model that is served somewhere. */
function kindsOf(document: VirtualDocument): readonly (typeof KINDS)[number][] {
  return KINDS.filter((kind) => document[kind] !== undefined)
}

export function isVirtual(document: VirtualDocument | undefined): boolean {
  return document !== undefined && kindsOf(document).length > 0
}

/** The names that a document picks from, each with its place. */
function placesOf(
  name: string,
  { alias, split = {}, route }: VirtualDocument,
): readonly [place: string, pick: string][] {
  const at = `models.${name}`
  return [
    ...(alias === undefined ? [] : [[`${at}.alias`, alias] as [string, string]]),
    ...Object.keys(split).map((pick): [string, string] => [`${at}.split.${pick}`, pick]),
    ...(route === undefined
      ? []
      : [
          [`${at}.route.small`, route.small] as [string, string],
          [`${at}.route.large`, route.large] as [string, string],
        ]),
  ]
}

/** A request goes through so many splits and routes at the most; an alias is only another name. */
const MOST_PICKS = 4

/** @param isModel whether a name stands under models */
export function virtualFaults(documents: Documents, isModel: (name: string) => boolean): string[] {
  const virtual = Object.entries(documents).filter(([, document]) => isVirtual(document))
  const faults = virtual.flatMap(([name, document]) => faultsOf(name, document, documents, isModel))
  return [...faults, ...aliasFaults(virtual, documents), ...circleFaults(virtual, documents)]
}

/** A plan that lists a model lists all of its names: of many plans, and many names, a start would take long. */
const MOST_ALIASES = 32

function aliasFaults(virtual: readonly (readonly [string, VirtualDocument])[], documents: Documents): string[] {
  const counts = new Map<string, number>()
  for (const [name, { alias }] of virtual) {
    if (alias === undefined) continue
    const model = unaliased(name, documents)
    counts.set(model, (counts.get(model) ?? 0) + 1)
  }
  return [...counts]
    .filter(([, count]) => count > MOST_ALIASES)
    .map(([model, count]) => `models.${model}: has ${count} aliases, and may have ${MOST_ALIASES}. Remove some.`)
}

function faultsOf(
  name: string,
  document: VirtualDocument,
  documents: Documents,
  isModel: (name: string) => boolean,
): string[] {
  const at = `models.${name}`
  const kinds = kindsOf(document)
  if (kinds.length > 1) return [`${at}: has ${listText(kinds)}, and each is a model of its own. Keep one.`]
  const faults = placesOf(name, document)
    .filter(([, pick]) => !isModel(pick))
    .map(([place, pick]) => `${place}: there is no model '${pick}' under models.`)
  const own = Object.entries(document).filter(([field, value]) => value !== undefined && field !== kinds[0])
  for (const [field] of own) {
    if (field === 'by' && document.split !== undefined) continue
    const picks = placesOf(name, document).map(([, pick]) => pick)
    faults.push(
      field === 'by'
        ? `${at}.by: belongs to a split. Remove it.`
        : `${at}.${field}: ${WITH_ARTICLE[kinds[0] ?? 'alias']} has none of its own: that of the model that it picks holds. Write it under ${listText(new Set(picks), 'or')}, or remove it.`,
    )
  }
  const { split, route } = document
  if (split !== undefined) faults.push(...splitFaults(`${at}.split`, split, documents))
  if (route !== undefined) {
    const [small, large] = [unaliased(route.small, documents), unaliased(route.large, documents)]
    if (small === large) {
      faults.push(`${at}.route: small and large are both '${small}', so no rule would choose. Name two models.`)
    }
    faults.push(...route.rules.flatMap((rule, index) => ruleFaults(`${at}.route.rules[${index}]`, rule)))
  }
  return faults
}

const WITH_ARTICLE = { alias: 'an alias', split: 'a split', route: 'a route' } as const

function splitFaults(at: string, split: Readonly<Record<string, number>>, documents: Documents): string[] {
  const faults: string[] = []
  const names = Object.keys(split)
  if (names.length > MOST_PARTS)
    faults.push(`${at}: has ${names.length} parts, and may have ${MOST_PARTS}. Remove some.`)
  if (Object.values(split).every((weight) => weight === 0)) {
    faults.push(`${at}: gives no part any weight, so nothing would serve. Write for instance {chat: 90, lambda: 10}.`)
  }
  const first = new Map<string, string>()
  for (const name of names) {
    const model = unaliased(name, documents)
    const same = first.get(model)
    if (same === undefined) first.set(model, name)
    else faults.push(`${at}.${name}: is the same model as '${same}', which is a part too. Keep one.`)
  }
  return faults
}

function ruleFaults(at: string, { use: _, ...conditions }: RuleDocument): string[] {
  const { header } = conditions
  if (Object.values(conditions).every((condition) => condition === undefined)) {
    return [
      `${at}: says nothing of the request, so it would always hold. Name what it asks for, such as {tokens: 2000}.`,
    ]
  }
  if (header === undefined || !isSecretHeader(header.name.toLowerCase())) return []
  return [`${at}.header.name: '${header.name}' carries a secret, which no rule may go by. Use another header.`]
}

/** Names that lead back to themselves, each circle once, and those that lead on for too long. */
function circleFaults(virtual: readonly (readonly [string, VirtualDocument])[], documents: Documents): string[] {
  const faults: string[] = []
  const told = new Set<string>()
  /** How many picks a name is away from a model. */
  const depths = new Map<string, number>()
  function follow(name: string, before: readonly string[]): number {
    const known = depths.get(name)
    if (known !== undefined) return known
    const document = Object.hasOwn(documents, name) ? documents[name] : undefined
    if (document === undefined || !isVirtual(document)) return 0
    let depth = 0
    for (const [place, pick] of placesOf(name, document)) {
      const path = [...before, name]
      const start = path.indexOf(pick)
      if (start < 0) {
        depth = Math.max(depth, (document.alias === undefined ? 1 : 0) + follow(pick, path))
        continue
      }
      const circle = path.slice(start)
      if (circle.some((each) => told.has(each))) continue
      for (const each of circle) told.add(each)
      faults.push(
        `${place}: comes back to itself: ${wayText([...circle, pick])}. Let one of them name a model that has targets.`,
      )
    }
    depths.set(name, depth)
    return depth
  }
  for (const [name] of virtual) follow(name, [])
  if (faults.length > 0) return faults
  return virtual
    .filter(([name]) => (depths.get(name) ?? 0) > MOST_PICKS)
    .map(
      ([name]) =>
        `models.${name}: leads to a model through ${depths.get(name)} splits and routes, and may through ${MOST_PICKS}. Name the model itself.`,
    )
}

/** The name that is behind an alias, and behind an alias of an alias; any other name itself. */
export function unaliased(name: string, documents: Documents): string {
  const seen = new Set<string>()
  let at = name
  while (!seen.has(at)) {
    seen.add(at)
    const alias = Object.hasOwn(documents, at) ? documents[at]?.alias : undefined
    if (alias === undefined) return at
    at = alias
  }
  return at
}

/** Those of a document: what they pick is never an alias. */
export function resolveVirtualModels(documents: Documents): VirtualModels {
  return new Map(
    Object.entries(documents).flatMap(([name, document]) => {
      const virtual = resolveVirtual(name, document, (pick) => unaliased(pick, documents))
      return virtual === undefined ? [] : [[name, interned(virtual)] as const]
    }),
  )
}

function resolveVirtual(
  name: string,
  { alias, split, by = 'consumer', route }: VirtualDocument,
  behind: (name: string) => string,
): VirtualModel | undefined {
  if (alias !== undefined) return { kind: 'alias', name, model: behind(alias) }
  if (split !== undefined) {
    const parts = Object.entries(split)
      .filter(([, weight]) => weight > 0)
      .map(([pick, weight]) => ({ model: behind(pick), weight }))
    // In one order, however it is written: who is on which part doesn't change with it.
    return { kind: 'split', name, parts: parts.toSorted((a, b) => (a.model < b.model ? -1 : 1)), by }
  }
  if (route === undefined) return undefined
  return {
    kind: 'route',
    name,
    small: behind(route.small),
    large: behind(route.large),
    rules: route.rules.map(({ header, use = 'large', ...conditions }) => ({
      ...conditions,
      ...(header === undefined ? {} : { header: { name: header.name.toLowerCase(), value: header.value } }),
      use,
    })),
  }
}
