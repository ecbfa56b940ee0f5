import { openTables, type StorageLocation, surveyPlans, surveyText, tableConsumerStore } from '@tollgate/middleware'

/** A start waits no longer for what it could only mention. */
const TIMEOUT_MS = 2_000

/** What of the consumers doesn't fit the policy's plans; nothing where they can't be looked at in time. */
export async function consumerNotes(
  location: StorageLocation,
  plans: ReadonlyMap<string, unknown>,
): Promise<readonly string[]> {
  if (location.kind === 'memory') return []
  try {
    const store = tableConsumerStore(openTables(location))
    return surveyText(await surveyPlans(store, plans, AbortSignal.timeout(TIMEOUT_MS)))
  } catch {
    return []
  }
}
