import { createHash } from 'node:crypto'
import * as z from 'zod'
import {
  kindOf,
  ModelUrlFault,
  TARGET_KINDS,
  TargetFault,
  type TargetKind,
  type TargetSettings,
} from '../targets/index.ts'
import { type EgressPolicy, targetContext } from './egress.ts'
import { listText, name } from './names.ts'
import type { TargetPrices } from './target-price.ts'

/* A target: a place that serves a model, and what the policy says of it beside. */

export interface Target extends TargetPrices {
  /**
   * The same for as long as its service, name and API are: over revisions, processes and changes of its key. No secret is in it. Where
   * one model asks the same place by several keys, the names of their variables tell its targets apart.
   */
  readonly id: string
  /** Tells apart targets that may answer differently; part of every cache key. */
  readonly identity: string
  /** Targets of the lowest number are asked first. */
  readonly priority: number
  /** Its share among the targets of its priority, at least 1. */
  readonly weight: number
  /** `undefined` where the policy names none. */
  readonly zone: string | undefined
  readonly settings: TargetSettings
}

/** The targets that consumers who have these rights may reach: without zones all of them. One that names no zone is in none. */
export function targetsFor<At extends Pick<Target, 'zone'>>(
  targets: readonly At[],
  { zones }: { readonly zones?: readonly string[] | undefined },
): readonly At[] {
  if (zones === undefined) return targets
  return targets.filter(({ zone }) => zone !== undefined && zones.includes(zone))
}

const MOST_PRIORITY = 100
const MOST_WEIGHT = 1_000

/** What a target of any kind may say. */
const anyTarget = {
  priority: z
    .int()
    .min(1)
    .max(MOST_PRIORITY)
    .optional()
    .describe('Targets of the lowest number are asked while one of them can be (1).'),
  weight: z
    .int()
    .min(0)
    .max(MOST_WEIGHT)
    .optional()
    .describe('Its share among the targets of its priority (1). Of 0 it is not asked at all.'),
  ptu: z
    .boolean()
    .optional()
    .describe('Throughput is provisioned here: tokens cost nothing more. What spills over costs the model’s price.'),
  zone: name
    .optional()
    .describe('Where it is, such as eu: tokens cost as many times as much as the price’s zone says.'),
}

/** Where a model is served: a map of the field that names the kind, and of what any target may say. */
export function targetSchema(kinds: readonly TargetKind[]) {
  const forms = kinds.map(({ name }) => `{${name}: …}`)
  return z.union(
    kinds.map(({ name, document, description }) =>
      z.strictObject({ [name]: document, ...anyTarget }).describe(description),
    ),
    { error: `must be ${listText(forms, 'or')}` },
  )
}

export type TargetDocument = z.infer<ReturnType<typeof targetSchema>>

/** What a target may say, whatever its kind. */
interface PlaceDocument {
  readonly priority?: number | undefined
  readonly weight?: number | undefined
  readonly ptu?: boolean | undefined
  readonly zone?: string | undefined
}

/** What a target says beside its place. */
export interface TargetPlacing {
  readonly priority: number
  /** 0 where it is not asked. */
  readonly weight: number
  readonly ptu: boolean
  readonly zone: string | undefined
}

export function placeOf(target: TargetDocument | undefined): TargetPlacing {
  const { priority = 1, weight = 1, ptu = false, zone } = (target ?? {}) as PlaceDocument
  return { priority, weight, ptu, zone }
}

/** The kinds of target that the composition has. */
export interface KnownKinds {
  /** Those that ship with Tollgate by default. */
  readonly targetKinds?: readonly TargetKind[] | undefined
}

export interface TargetOptions extends KnownKinds {
  /** What targets may reach and read. */
  readonly bounds: EgressPolicy
}

/** A target of a model, and what was read for it. */
export interface PlacedTarget {
  /** Its place in the document. */
  readonly index: number
  readonly settings: TargetSettings
  readonly place: TargetPlacing
  /** The variables that its secrets are read from. */
  readonly variables: readonly string[]
  /** Its settings, as text, without their secrets: the names of its headers, what signs it. */
  readonly open: string
}

/** What is wrong with a target goes to `faults`, with its path. */
export function resolveTargets(
  name: string,
  targets: readonly TargetDocument[],
  { bounds, targetKinds = TARGET_KINDS }: TargetOptions,
  faults: string[],
): readonly PlacedTarget[] {
  return targets.flatMap((target, index) => {
    const variables: string[] = []
    const { kind, document } = kindAndDocument(target, targetKinds)
    const context = targetContext(bounds, targetKinds, variables)
    try {
      const settings = kind.resolve(document, context)
      // Once more, for a kind that left it out.
      context.url(kind.place(settings).url)
      const open = withoutSecrets(settings, variables, bounds)
      return [{ index, settings, place: placeOf(target), variables, open }]
    } catch (fault) {
      faults.push(`models.${name}.targets[${index}]: ${wordsOf(fault)}`)
      return []
    }
  })
}

function withoutSecrets(settings: TargetSettings, variables: readonly string[], { env }: EgressPolicy): string {
  const secrets = variables.map((name) => env[name] ?? '').filter((secret) => secret !== '')
  const isSecret = (value: unknown) => typeof value === 'string' && secrets.some((secret) => value.includes(secret))
  return JSON.stringify(settings, (_field, value) => (isSecret(value) ? null : value))
}

/** The field of a target that names its kind, and what stands there. */
export function kindAndDocument(target: TargetDocument, kinds: readonly TargetKind[]) {
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

/**
 * The ids of a model's targets. Of those at one place, with a key each, the names of the keys' variables are part: a service counts
 * what is asked by each key by itself, and may block one of them. Two that differ in nothing are a fault.
 */
export function idsOf(
  name: string,
  placed: readonly PlacedTarget[],
  kinds: readonly TargetKind[] | undefined,
  faults: string[],
): readonly string[] {
  const places = placed.map(({ settings }) => idOf(settings, [], kinds))
  const ids = placed.map(({ settings, variables }, at) => {
    const place = places[at] ?? ''
    const isAlone = places.indexOf(place) === at && places.lastIndexOf(place) === at
    return isAlone ? place : idOf(settings, variables, kinds)
  })
  const firsts = new Map<string, number>()
  for (const [at, { index }] of placed.entries()) {
    const id = ids[at] ?? ''
    const first = firsts.get(id)
    if (first === undefined) firsts.set(id, index)
    else {
      faults.push(
        `models.${name}.targets[${index}]: is the same place as models.${name}.targets[${first}], asked by the same key. Keep one, with the weight of both.`,
      )
    }
  }
  return ids
}

/**
 * Service, name and a hash of the place: it goes to logs, where an address of the network's own has no business.
 *
 * @param variables that tell it apart from others at the place
 */
function idOf(settings: TargetSettings, variables: readonly string[], kinds = TARGET_KINDS): string {
  const { kind, model } = settings
  const { url, api } = kindOf(kinds, kind).place(settings)
  const place = JSON.stringify([kind, url.replace(/\/+$/, ''), model, api, ...variables])
  const digest = createHash('sha256').update(place).digest('hex')
  return `${kind}:${model.replace(/[^\w.-]/g, '_').slice(0, 40)}:${digest.slice(0, ID_DIGITS)}`
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
