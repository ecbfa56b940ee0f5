import type { z } from 'zod'
import { durationMs } from './duration.ts'
import { type Plan, type Policy, PolicyError, type RoutePolicy, type TargetSettings } from './policy.ts'
import { requestLimit } from './request-limit.ts'
import { type PolicyDocument, policySchema } from './schema.ts'
import { unsupported } from './supported.ts'
import { type PolicyBounds, resolveTarget, TargetFault } from './target.ts'

export interface ResolveOptions {
  /** What the document came from, for error messages. */
  readonly source: string
  readonly bounds: PolicyBounds
  /** The model of the `OPENAI_*` settings, served as `default`; `undefined` where none is configured. */
  readonly defaultTarget: TargetSettings | undefined
}

/** The seed's limits: 10 requests a minute, burst 5. */
const DEFAULT_PLANS: NonNullable<PolicyDocument['plans']> = {
  default: { limits: [{ requests: 10, per: '1m', burst: 5 }] },
}
const DEFAULT_MODEL = 'default'
const DEFAULT_TTL = '1h'

/**
 * Checks a document and fills in the defaults; `{}` is the policy without a file.
 *
 * @throws PolicyError with the path and fix of every fault that can be told at once: first those of the form, then
 * those of the meaning. Nothing of a faulty document is used.
 */
export function resolvePolicy(document: unknown, options: ResolveOptions): Policy {
  const checked = parseDocument(document, options.source)
  const faults = unsupported(checked)
  const models = resolveModels(checked.models ?? {}, options, faults)
  const generate = routeOf(checked.routes?.generate ?? {})
  if (generate.model !== DEFAULT_MODEL && checked.models?.[generate.model] === undefined) {
    faults.push(`routes.generate.model: there is no model '${generate.model}' under models.`)
  }
  if (faults.length > 0) throw new PolicyError(options.source, faults)
  return { ...plansOf(checked), models, routes: { generate } }
}

/** What a policy says by itself, for tools that run without the app's settings. */
export interface PolicyOutline extends Pick<Policy, 'plans' | 'defaultPlan'> {
  /** The policy's own model behind `/generate`; `undefined` where that is the one of the `OPENAI_*` settings. */
  readonly generateModel: string | undefined
}

/** @throws PolicyError */
export function outline(document: unknown, source: string): PolicyOutline {
  const checked = parseDocument(document, source)
  const faults = unsupported(checked)
  if (faults.length > 0) throw new PolicyError(source, faults)
  const { model } = routeOf(checked.routes?.generate ?? {})
  return { ...plansOf(checked), generateModel: checked.models?.[model] === undefined ? undefined : model }
}

function parseDocument(document: unknown, source: string): PolicyDocument {
  const parsed = policySchema.safeParse(document)
  if (!parsed.success) throw new PolicyError(source, parsed.error.issues.flatMap(schemaFaults))
  return parsed.data
}

function plansOf(document: PolicyDocument): Pick<Policy, 'plans' | 'defaultPlan'> {
  const plans = Object.entries(document.plans ?? DEFAULT_PLANS).map(
    ([name, plan]) => [name, planOf(name, plan)] as const,
  )
  return { plans: new Map(plans), defaultPlan: defaultPlan(plans.map(([name]) => name)) }
}

function planOf(name: string, plan: NonNullable<PolicyDocument['plans']>[string]): Plan {
  const limits = plan.limits.filter((limit) => 'requests' in limit)
  return {
    name,
    requests: limits.map((limit) => requestLimit(limit, limits.length === 1 ? 'requests' : `requests-${limit.per}`)),
  }
}

function defaultPlan(names: readonly string[]): string | undefined {
  return names.includes('default') ? 'default' : names.length === 1 ? names[0] : undefined
}

function resolveModels(
  documents: NonNullable<PolicyDocument['models']>,
  { bounds, defaultTarget }: ResolveOptions,
  faults: string[],
): Map<string, TargetSettings> {
  const models = new Map<string, TargetSettings>()
  if (defaultTarget !== undefined) models.set(DEFAULT_MODEL, defaultTarget)
  for (const [name, model] of Object.entries(documents)) {
    for (const target of model.targets) {
      try {
        models.set(name, resolveTarget(target, bounds))
      } catch (fault) {
        if (!(fault instanceof TargetFault)) throw fault
        faults.push(`models.${name}.targets[0]: ${fault.message}`)
      }
    }
  }
  return models
}

function routeOf(route: NonNullable<NonNullable<PolicyDocument['routes']>['generate']>): RoutePolicy {
  const cache = route.cache === false ? undefined : { ttl: DEFAULT_TTL, sampled: true, ...dropUndefined(route.cache) }
  return {
    model: route.model ?? DEFAULT_MODEL,
    cache: cache && { ttlMs: durationMs(cache.ttl), sampled: cache.sampled },
  }
}

function dropUndefined(cache: { ttl?: string | undefined; sampled?: boolean | undefined } = {}) {
  return {
    ...(cache.ttl === undefined ? {} : { ttl: cache.ttl }),
    ...(cache.sampled === undefined ? {} : { sampled: cache.sampled }),
  }
}

/**
 * A union's faults are told for the branch that the author most likely meant: of those of the value's kind, the one with
 * the fewest. Where the value is of no branch's kind, the union's own message says what would be.
 */
function schemaFaults(issue: z.core.$ZodIssue): string[] {
  if (issue.code === 'invalid_union') {
    const ofItsKind = issue.errors.filter((branch) => !branch.some(isWrongKind))
    const [meant] = ofItsKind.toSorted((a, b) => a.length - b.length)
    if (meant) return meant.flatMap((inner) => schemaFaults({ ...inner, path: [...issue.path, ...inner.path] }))
  }
  return [`${pathOf(issue.path) || 'the document'}: ${issue.message}`]
}

function isWrongKind({ path, code }: z.core.$ZodIssue): boolean {
  return path.length === 0 && code !== 'unrecognized_keys'
}

function pathOf(path: readonly PropertyKey[]): string {
  return path.reduce<string>(
    (text, part) =>
      typeof part === 'number' ? `${text}[${part}]` : text === '' ? String(part) : `${text}.${String(part)}`,
    '',
  )
}
