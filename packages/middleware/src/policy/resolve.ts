import { durationMs } from './duration.ts'
import { type Plan, type Policy, PolicyError, type RoutePolicy, type TargetSettings } from './policy.ts'
import { requestLimit } from './request-limit.ts'
import { type PolicyDocument, policySchema } from './schema.ts'
import { schemaFaults } from './schema-faults.ts'
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
    for (const [index, target] of model.targets.entries()) {
      try {
        models.set(name, resolveTarget(target, bounds))
      } catch (fault) {
        if (!(fault instanceof TargetFault)) throw fault
        faults.push(`models.${name}.targets[${index}]: ${fault.message}`)
      }
    }
  }
  return models
}

function routeOf(route: NonNullable<NonNullable<PolicyDocument['routes']>['generate']>): RoutePolicy {
  const { model = DEFAULT_MODEL, cache } = route
  if (cache === false) return { model, cache: undefined }
  return { model, cache: { ttlMs: durationMs(cache?.ttl ?? DEFAULT_TTL), sampled: cache?.sampled ?? true } }
}
