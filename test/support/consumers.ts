import { issueKey, type OpenTable, tableConsumerStore } from '@tollgate/middleware'

/** A key for a new consumer, in the tables that a host under test reads. */
export async function newKey(open: OpenTable, consumer: string, plan = 'default'): Promise<string> {
  const { key } = await issueKey(tableConsumerStore(open), {
    consumer,
    plan,
    defaultPlan: undefined,
    plans: [plan],
    now: Date.now(),
  })
  return key
}

let count = 0
/** A name that no other test of any run has used. */
export function unique(prefix: string): string {
  count += 1
  return `${prefix}-${process.pid}-${Date.now().toString(36)}-${count}`
}
