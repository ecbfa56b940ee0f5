import { type Log, openTables, type Policy, surveyPlans, surveyText, tableConsumerStore } from '@tollgate/middleware'
import type { Settings } from './settings.ts'

/** Milliseconds after the start: a cold start must not wait for a listing that no request needs. */
const AFTER_MS = 30_000
const TIMEOUT_MS = 10_000

/** Tells, some time after a start and once, which consumers are on plans that the policy doesn't have. Holds nothing up. */
export function tellStrandedConsumers({ storage }: Settings, policy: Policy, log: Log): void {
  if (storage.kind === 'memory') return
  const look = async () => {
    const store = tableConsumerStore(openTables(storage))
    const survey = await surveyPlans(store, policy.plans, AbortSignal.timeout(TIMEOUT_MS))
    const [message] = survey.strandedCount > 0 ? surveyText(survey) : []
    if (message !== undefined) log('warn', 'consumers without a plan', { count: survey.strandedCount, message })
  }
  // Where the tables can't be read, each request says so, and health does.
  setTimeout(() => look().catch(() => {}), AFTER_MS).unref()
}
