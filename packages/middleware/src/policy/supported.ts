import { DURATION, durationMs } from './duration.ts'
import type { LimitDocument, PolicyDocument } from './schema.ts'

const MIN_STRICT_MS = 10_000

/** Faults that a schema can't express, and what this version would not enforce: refused, never ignored. */
export function unsupported(document: PolicyDocument): string[] {
  const faults: string[] = []
  for (const [name, plan] of Object.entries(document.plans ?? {})) {
    const periods = new Set<number>()
    plan.limits.forEach((limit, index) => {
      const path = `plans.${name}.limits[${index}]`
      const fault = limitFault(limit)
      if (fault !== undefined) faults.push(`${path}: ${fault}`)
      else if ('requests' in limit) {
        const periodMs = durationMs(limit.per)
        if (periods.has(periodMs))
          faults.push(`${path}: a second limit on requests per ${limit.per}. Keep the smaller.`)
        periods.add(periodMs)
      }
    })
  }
  if (document.plans !== undefined && Object.keys(document.plans).length === 0) {
    faults.push('plans: there is none, so nobody could get in. Name one, or leave plans out for the default.')
  }
  if (document.global !== undefined) {
    faults.push('global: limits on all consumers together are not enforced by this version yet. Remove it.')
  }
  for (const [name, model] of Object.entries(document.models ?? {})) {
    if (model.targets.length > 1) {
      faults.push(`models.${name}.targets: several targets are not used by this version yet. Keep one.`)
    }
  }
  return faults
}

function limitFault(limit: LimitDocument): string | undefined {
  if (!('requests' in limit)) {
    const kind = Object.keys(limit)[0]
    return `limits on '${kind}' are not enforced by this version yet. Remove it.`
  }
  if (!DURATION.test(limit.per)) {
    return `quotas per ${limit.per} are not enforced by this version yet. Use a duration such as 1h or 1d.`
  }
  if ((limit.requests + (limit.burst ?? 0)) * durationMs(limit.per) > Number.MAX_SAFE_INTEGER) {
    return 'too many requests in too long a period to be counted exactly. Make one of them smaller.'
  }
  if (limit.strict && limit.burst) return "'strict' and 'burst' contradict each other. Remove one."
  if (limit.strict && limit.requests < 4) return "'strict' needs at least 4 requests."
  if (limit.strict && durationMs(limit.per) < MIN_STRICT_MS) {
    return "'strict' needs a period of at least 10s, because the store tells the time by the second."
  }
  return undefined
}
