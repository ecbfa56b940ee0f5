import { inject } from 'vitest'
import { newKey, unique } from '../support/consumers.ts'
import { BARE_HOST, startHost } from '../support/host.ts'
import { openAccount } from '../support/tables.ts'
import { type Model, startModel } from './model.ts'

/** The plans of policy.yaml. */
export type Plan = 'ample' | 'brief' | 'long' | 'spent'

/** The Function app that is deployed, by the local host, over Azurite's tables and a model of ours. */
export interface Gateway {
  readonly origin: string
  readonly model: Model
  /** A key for a consumer that no other test has. */
  newKey(plan: Plan): Promise<string>
  /** All that it has printed so far. */
  output(): string
  stop(): Promise<void>
}

export async function startGateway(): Promise<Gateway> {
  const model = await startModel()
  const storage = inject('azurite')
  const host = await startHost(
    {
      TOLLGATE_STORAGE: storage,
      TOLLGATE_POLICY: 'test/clients/policy.yaml',
      TOLLGATE_POLICY_ENV: 'MODEL_ORIGIN',
      TOLLGATE_TARGET_HOSTS: '127.0.0.1',
      OPENAI_BASE_URL: model.baseUrl,
      OPENAI_API_KEY: 'model-key',
      MODEL_ORIGIN: model.origin,
      // A busy machine must not turn a hit into a miss, and a key's lookup into a 503.
      TOLLGATE_CACHE_DEADLINE_MS: '20000',
      TOLLGATE_STORE_DEADLINE_MS: '20000',
    },
    BARE_HOST,
  )
  const open = openAccount(storage)
  return {
    origin: process.env.DIRECT ? model.origin : host.url,
    model,
    newKey: (plan) => newKey(open, unique(plan), plan),
    output: host.output,
    async stop() {
      await host.stop()
      await model.close()
    },
  }
}
