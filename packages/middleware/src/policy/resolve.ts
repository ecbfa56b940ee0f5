import type { Price } from '../pipeline/index.ts'
import { TARGET_KINDS } from '../targets/index.ts'
import { trustedHosts } from './egress.ts'
import { resolveGroups } from './group.ts'
import { resolveIdentity } from './identity.ts'
import {
  knowsModel,
  type ModelOptions,
  modelFaults,
  type OutlinedTarget,
  outlineTargets,
  type PricedBy,
  pricedBy,
  resolveModels,
  resolvePrices,
} from './model.ts'
import { unservedMoneyLimits } from './money.ts'
import { closestName, listText } from './names.ts'
import { limitedModelFault, planFaults, resolvePlans } from './plan.ts'
import { type Policy, PolicyError } from './policy.ts'
import { DEFAULT_MODEL, ROUTES, resolveRoutes, routeFaults, routeOf } from './route.ts'
import { type PolicyDocument, policySchema } from './schema.ts'
import { schemaFaults } from './schema-faults.ts'
import { revisionOf } from './source.ts'
import type { KnownKinds } from './target.ts'
import { resolveUsage, usageFaults } from './usage.ts'
import { isVirtual, resolveVirtualModels, virtualFaults } from './virtual-model.ts'

export interface ResolveOptions extends ModelOptions, KnownRoutes {
  /** What the document came from, for error messages. */
  readonly source: string
}

export interface KnownRoutes {
  /** The routes of the composition's surfaces, which the policy may name. Those that ship with Tollgate by default. */
  readonly routes?: readonly string[] | undefined
}

/** A document that is still to be checked. */
export interface Document {
  readonly value: unknown
  /** What it came from, for error messages. */
  readonly source: string
  /** Whether it will decide over an app: then what could never be served is a fault too. */
  readonly isFile: boolean
  /** The line of a path, from 1, where the document was read from lines. */
  readonly lineOf?: (path: string) => number | undefined
}

/**
 * Checks a document and fills in the defaults; `{}` is the policy without a file. What is equal in two policies is the same
 * object in both: limits and lists of limits, plans, prices, targets, models and routes.
 *
 * @throws PolicyError with the path and fix of every fault that can be told at once: first those of the form, then
 * those of the meaning. Nothing of a faulty document is used.
 */
export function resolvePolicy(document: unknown, options: ResolveOptions): Policy {
  return resolveDocument({ value: document, source: options.source, isFile: false }, options)
}

/** The same of a document that was read from a file. @throws PolicyError */
export function resolveDocument(document: Document, options: ModelOptions & KnownRoutes): Policy {
  const checked = check(document, options)
  const { faults, ...own } = meaning(checked, document, options.bounds.hosts)
  const { models, asked } = resolveModels(checked, options, faults)
  throwIfFaulty(document, faults)
  const policy = { ...own, models, storeDown: checked.storeDown ?? 'closed' }
  return { revision: revisionOf(policy, asked), ...policy, trustedHosts: trustedHosts(options) }
}

/** What a policy says by itself, for tools that run without the app's settings. */
export interface PolicyOutline
  extends Pick<Policy, 'plans' | 'defaultPlan' | 'global' | 'identity' | 'groups' | 'routes' | 'usage'>,
    Required<Pick<Policy, 'virtualModels'>> {
  /** The policy's own models, and those of the settings that a route goes to. */
  readonly models: ReadonlyMap<string, OutlinedModel>
}

export interface OutlinedModel {
  readonly name: string
  /** The name by which it is asked for at its first server; `undefined` for the model of the `OPENAI_*` settings. */
  readonly servedAs: string | undefined
  /** Those that are asked. */
  readonly targets: readonly OutlinedTarget[]
  /** As the policy states it: what a target costs goes by its place too. */
  readonly price: Price | undefined
  /** By whose word its price is; `undefined` where it has none. */
  readonly priced: PricedBy | undefined
}

/** @throws PolicyError */
export function outline(document: unknown, source: string): PolicyOutline {
  return outlineDocument({ value: document, source, isFile: false })
}

/** @throws PolicyError */
export function outlineDocument(document: Document, options: KnownRoutes & KnownKinds = {}): PolicyOutline {
  const checked = check(document, options)
  const { faults, ...own } = meaning(checked, document, ANY_HOST)
  throwIfFaulty(document, faults)
  const price = resolvePrices(checked)
  const models = checked.models ?? {}
  const asked = (options.routes ?? ROUTES).map((name) => routeOf(own, name).model)
  return {
    ...own,
    models: new Map(
      [...Object.keys(models), ...asked]
        .filter((name) => !isVirtual(models[name]))
        .map((name) => {
          const targets = outlineTargets(models[name], price(name), options.targetKinds)
          const servedAs = targets[0]?.servedAs
          return [name, { name, servedAs, targets, price: price(name), priced: pricedBy(checked, name) }]
        }),
    ),
  }
}

/** For tools that reach none. */
const ANY_HOST = ['*']

/** What can be told of a document by itself. @param hosts that may be on addresses that are not public */
function meaning(checked: PolicyDocument, { isFile }: Document, hosts: readonly string[]) {
  const isModel = (name: string) => knowsModel(checked.models, name)
  const faults = [
    ...planFaults(checked),
    ...modelFaults(checked),
    ...virtualFaults(checked.models ?? {}, isModel),
    ...routeFaults(checked.routes),
    ...usageFaults(checked.usage),
  ]
  const virtualModels = resolveVirtualModels(checked.models ?? {})
  const plans = resolvePlans(checked, virtualModels, faults)
  const identity = resolveIdentity(checked.identity, plans.plans, hosts, faults)
  const groups = resolveGroups(checked.groups, limitedModelFault(checked.models, virtualModels), faults)
  for (const [name, route] of Object.entries(checked.routes ?? {})) {
    if (route?.model === undefined || isModel(route.model)) continue
    faults.push(`routes.${name}.model: there is no model '${route.model}' under models.`)
  }
  if (isFile) faults.push(...unservedMoneyLimits(checked))
  const known = [...Object.keys(checked.models ?? {}), DEFAULT_MODEL]
  return {
    ...plans,
    ...(identity && { identity }),
    ...(groups && { groups }),
    virtualModels,
    routes: resolveRoutes(checked.routes),
    usage: resolveUsage(checked.usage),
    faults: faults.map((fault) => withKnownModels(fault, known)),
  }
}

/** A fault that names an unknown model says which models there are. */
function withKnownModels(fault: string, known: readonly string[]): string {
  const [, missing] = /: there is no model '([^']*)' under models\.$/.exec(fault) ?? []
  if (missing === undefined) return fault
  const meant = closestName(missing, known)
  return `${fault}${meant === undefined ? '' : ` Did you mean '${meant}'?`} There are: ${listText(new Set(known))}.`
}

/** More than these would make a start slow, and no person could say what holds. */
const MOST_NAMES = { plans: 10_000, models: 1_000 } as const
/** Faults that are put into words; the others are counted. */
const MOST_WORDED = 100

function check(
  document: Document,
  { routes = ROUTES, targetKinds = TARGET_KINDS }: KnownRoutes & KnownKinds,
): PolicyDocument {
  const { value, source } = document
  const schema = policySchema(routes, targetKinds)
  for (const [field, most] of Object.entries(MOST_NAMES)) {
    const entries = (value as Readonly<Record<string, unknown>> | null)?.[field]
    const count = typeof entries === 'object' && entries !== null ? Object.keys(entries).length : 0
    if (count > most) {
      const [has, may] = [count.toLocaleString('en-US'), most.toLocaleString('en-US')]
      throw new PolicyError(
        source,
        located(document, [`${field}: has ${has} entries, and may have ${may}. Remove some.`]),
      )
    }
  }
  const parsed = schema.safeParse(value)
  if (parsed.success) return parsed.data
  const { issues } = parsed.error
  const worded = schemaFaults(schema, issues.slice(0, MOST_WORDED), value, targetKinds)
  throw new PolicyError(source, located(document, worded), Math.max(0, issues.length - MOST_WORDED))
}

function throwIfFaulty(document: Document, faults: readonly string[]): void {
  if (faults.length > 0) throw new PolicyError(document.source, located(document, faults))
}

/** Each fault begins with its path, up to the first colon. */
function located({ lineOf }: Document, faults: readonly string[]): readonly string[] {
  if (lineOf === undefined) return faults
  return faults.map((fault) => {
    const line = lineOf(/^(?:\["(?:\\.|[^"\\])*"\]|[^:])*/.exec(fault)?.[0] ?? '')
    return line === undefined ? fault : `line ${line}, ${fault}`
  })
}
