import type { AttemptFacts, FinishedRequest } from '../pipeline/index.ts'
import type { UsageAttempt, UsageRow } from './figures.ts'
import type { NewRow } from './packed-rows.ts'

/** A request's end as a row. Fields that say nothing are left out. */
export function usageRow(request: FinishedRequest): NewRow {
  const { requestId, call, startedAt, ms, firstTokenMs, status, refusal, stream, facts, story } = request
  const { consumer, plan, policy, promptHash, model, cache, limit, tier, usage, toolCalls, attempts } = facts
  const { surface, operation, streamed, route, reserved, steps, standings } = story
  const costNanoUsd = costOf(facts)
  const row = {
    requestId,
    call,
    startedAt,
    ms: hundredths(ms),
    firstTokenMs: call > 0 || firstTokenMs === undefined ? undefined : hundredths(firstTokenMs),
    status,
    outcome: outcomeOf(request),
    refusal,
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
    cache,
    limit,
    tier,
    usage,
    toolCalls,
    reserved,
    costNanoUsd,
    savedNanoUsd: facts.sparedNanoUsd,
    uncertain: facts.uncertain,
    clamped: facts.clamped,
    dryRun: facts.dryRun,
    attempts: attempts?.map(attemptOf),
    steps: steps.map((step) => ({ name: step.name, decision: step.decision, ms: hundredths(step.ms) })),
    left: standings?.map(({ limit: { name, measure, quota }, remaining }) => ({
      limit: name,
      measure,
      of: quota,
      left: remaining,
    })),
  }
  return withoutUndefined(row) as unknown as NewRow
}

function outcomeOf({ call, status, stream }: FinishedRequest): UsageRow['outcome'] {
  if (call > 0) return 'call'
  if (status >= 500 || stream === 'broken') return 'failed'
  return status >= 400 ? 'refused' : 'answered'
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

function attemptOf({ failure, ms, firstTokenMs, ...attempt }: AttemptFacts): UsageAttempt {
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

function withoutUndefined(row: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const defined: Record<string, unknown> = {}
  for (const name in row) if (row[name] !== undefined) defined[name] = row[name]
  return defined
}
