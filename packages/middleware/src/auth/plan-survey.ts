import type { Consumer } from './consumer.ts'
import type { ConsumerStore } from './store.ts'

/** A look at the consumers, to be told at a start, that costs a few reads at most. */
const MOST_CONSUMERS = 1_000
/** Of those whose plan is gone, as many are named. */
const MOST_NAMED = 10

export interface PlanSurvey {
  /** Some of the consumers whose plan the policy lacks: each of their requests is a 403. */
  readonly stranded: readonly Consumer[]
  /** How many there are, of those that were looked at. */
  readonly strandedCount: number
  /** Plans on which no consumer is; empty where not all were looked at, or there are no consumers. */
  readonly unusedPlans: readonly string[]
}

/** Holds the consumers against the policy's plans. @throws what the store throws. */
export async function surveyPlans(
  store: Pick<ConsumerStore, 'listConsumers'>,
  plans: ReadonlyMap<string, unknown>,
  signal?: AbortSignal,
): Promise<PlanSurvey> {
  const stranded: Consumer[] = []
  const used = new Set<string>()
  let [seen, strandedCount] = [0, 0]
  for await (const consumer of store.listConsumers(signal)) {
    if (seen === MOST_CONSUMERS) return { stranded, strandedCount, unusedPlans: [] }
    seen += 1
    used.add(consumer.plan)
    if (plans.has(consumer.plan)) continue
    strandedCount += 1
    if (stranded.length < MOST_NAMED) stranded.push(consumer)
  }
  return { stranded, strandedCount, unusedPlans: seen === 0 ? [] : [...plans.keys()].filter((plan) => !used.has(plan)) }
}

/** The same as sentences; none where all is well. */
export function surveyText({ stranded, strandedCount, unusedPlans }: PlanSurvey): string[] {
  const [first] = stranded
  const names = stranded.map(({ id, plan }) => `${id} (plan '${plan}')`).join(', ')
  const more = strandedCount > stranded.length ? ` and ${strandedCount - stranded.length} more` : ''
  const unused = unusedPlans.slice(0, MOST_NAMED).join(', ')
  const others = unusedPlans.length > MOST_NAMED ? ` and ${unusedPlans.length - MOST_NAMED} more` : ''
  return [
    ...(first === undefined
      ? []
      : [
          `consumers on plans that the policy does not have, whose requests are all refused (403): ${names}${more}. ` +
            `Add the plan, or move them: npm run tollgate -- consumers set ${first.id} --plan <plan>`,
        ]),
    ...(unused === ''
      ? []
      : [`no consumer is on ${unusedPlans.length === 1 ? 'the plan' : 'the plans'} ${unused}${others}`]),
  ]
}
