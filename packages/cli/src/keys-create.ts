import { openStorage } from '@tollgate/local-host'
import { isConsumerId, issueKey, openTables, outlinePolicy, tableConsumerStore } from '@tollgate/middleware'
import { CommandFault } from './command-fault.ts'

export interface KeysCreateOptions {
  readonly consumer: string
  readonly plan?: string
  readonly json?: boolean
}

/** `tollgate keys create`: makes a key, and its consumer if that is new; prints the key, once. */
export async function keysCreate(options: KeysCreateOptions, root: string, env: NodeJS.ProcessEnv): Promise<string> {
  const { consumer, plan } = options
  if (!isConsumerId(consumer)) {
    throw new CommandFault(
      "--consumer: 1 to 128 letters, digits and . _ @ : -, beginning with a letter or digit, such as 'alice' or 'team-7'.",
    )
  }
  const { plans, defaultPlan } = outlinePolicy({ root, path: env.TOLLGATE_POLICY || undefined })
  if (plan !== undefined && !plans.has(plan)) {
    throw new CommandFault(`--plan: the policy has no plan '${plan}'. It has: ${[...plans.keys()].join(', ')}.`)
  }
  const storage = await openStorage(root, env)
  try {
    if (storage.location.kind === 'memory') {
      throw new CommandFault("TOLLGATE_STORAGE is 'memory:', which no other process can reach. A key needs tables.")
    }
    const store = tableConsumerStore(openTables(storage.location))
    const issued = await issueKey(store, { consumer, plan, defaultPlan, plans: [...plans.keys()], now: Date.now() })
    if (options.json) return JSON.stringify(issued)
    return [
      `Key for consumer '${issued.consumer}' on plan '${issued.plan}' (id ${issued.id}). It is shown only now:`,
      '',
      `  ${issued.key}`,
    ].join('\n')
  } finally {
    storage.release()
  }
}
