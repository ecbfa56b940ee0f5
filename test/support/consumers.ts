import { issueKey, type OpenTable, type Scope, tableConsumerStore } from '@tollgate/middleware'

/** A key for a new consumer, in the tables that a host under test reads. */
export async function newKey(
  open: OpenTable,
  consumer: string,
  plan = 'default',
  scopes?: readonly Scope[],
): Promise<string> {
  const { key } = await issueKey(tableConsumerStore(open), {
    consumer,
    plan,
    defaultPlan: undefined,
    plans: [plan],
    now: Date.now(),
    ...(scopes === undefined ? {} : { scopes }),
  })
  return key
}

let count = 0
/** A name that no other test of any run has used. */
export function unique(prefix: string): string {
  count += 1
  return `${prefix}-${process.pid}-${Date.now().toString(36)}-${count}`
}
