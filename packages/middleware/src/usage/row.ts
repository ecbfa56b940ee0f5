import { type AttemptFacts, type FinishedRequest, outcomeOf, type Standing } from '../pipeline/index.ts'
import type { UsageAttempt } from './figures.ts'
import type { NewRow } from './packed-rows.ts'

/** A request's end as a row. A field that says nothing is `undefined`, and is not written. */
export function usageRow(request: FinishedRequest): NewRow {
  const { requestId, call, startedAt, ms, firstTokenMs, status, refusal, param, retryAfterMs } = request
  const { stream, facts, story } = request
  const { consumer, plan, policy, promptHash, model, reason, cache, limit, tier, usage, toolCalls, attempts } = facts
  const { surface, operation, streamed, route, reserved, steps, standings } = story
  // No spread, and nothing is left out: this is done for each request.
  return {
    requestId,
    call,
    startedAt,
    ms,
    firstTokenMs: call > 0 ? undefined : firstTokenMs,
    status,
    outcome: call > 0 ? 'call' : outcomeOf(request),
    refusal,
    param,
    retryAfterMs,
    stream,
    consumer,
    plan,
    policy,
    promptHash,
    surface,
    operation,
    streamed,
    route,
    model,
    reason,
    cache,
    limit,
    tier,
    usage,
    toolCalls,
    reserved,
    costNanoUsd: costOf(facts),
    savedNanoUsd: facts.sparedNanoUsd,
    uncertain: facts.uncertain,
    clamped: facts.clamped,
    dryRun: facts.dryRun,
    verdict: facts.verdict,
    shadow: facts.shadow,
    wouldRefuse: facts.wouldRefuse,
    attempts: attempts?.map(attemptOf),
    steps,
    left: standings?.map(leftOf),
  } as Partial<NewRow> as NewRow
}

type Left = (NewRow['left'] & object)[number]

function leftOf({ limit: { name, measure, quota, capacity = quota }, remaining }: Standing): Left {
  return { limit: name, measure, of: quota, most: capacity > quota ? capacity : undefined, left: remaining } as Left
}

/** What the priced calls cost; where one of several has no price, the line tells no sum. */
function costOf({ costNanoUsd, attempts }: FinishedRequest['facts']): number | undefined {
  let sum: number | undefined
  for (const attempt of attempts ?? []) {
    if (attempt.costNanoUsd !== undefined) sum = (sum ?? 0) + attempt.costNanoUsd
  }
  if (costNanoUsd === undefined || sum === undefined) return costNanoUsd ?? sum
  return Math.max(costNanoUsd, sum)
}

/** What is only for telemetry is left out. */
function attemptOf({ failure, ms, firstTokenMs, startedAt: _, asked: __, ...attempt }: AttemptFacts): UsageAttempt {
  return {
    ...attempt,
    ms: hundredths(ms),
    ...(firstTokenMs === undefined ? {} : { firstTokenMs: hundredths(firstTokenMs) }),
    ...(failure?.status === undefined ? {} : { status: failure.status }),
    ...(failure === undefined ? {} : { code: failure.code ?? 'failed' }),
  }
}

function hundredths(ms: number): number {
  return Math.round(ms * 100) / 100
}
