import {
  bodyOf,
  budget,
  type Call,
  type Claim,
  chat,
  type Decision,
  type Facts,
  type Limit,
  type Limiter,
  type Operation,
  type Policy,
  pipeline,
  type Reply,
  resolvePolicy,
  route,
  type Transport,
  upstream,
} from '@tollgate/middleware'
import { baseContext } from '../support/base-context.ts'
import { modelCall } from '../support/model-call.ts'
import type { BillCase } from './bill-case.ts'

/** What the gateway makes of a case: the way of a call from its route to its service, whose answer is the case's. */
export interface Settlement {
  /** Nano-dollars that the limit was charged; `undefined` where the call was refused before it was made. */
  readonly charged: number | undefined
  /** As the log line has it. */
  readonly told: Facts
}

/** @param operation by which the case's body is read */
export async function settlementOf(each: BillCase, operation: Operation = chat): Promise<Settlement> {
  let charged: number | undefined
  const limiter = limiterOf((used) => {
    charged = used
  })
  const { reserved } = each
  const choices = typeof each.asked.n === 'number' ? each.asked.n : 1
  // The prompts are left out: what bounds them is what the case says.
  const bounded: Operation = {
    ...operation,
    bounds: () => ({
      input: reserved?.input ?? 1_000_000,
      unboundedField: undefined,
      output: reserved === undefined ? 200_000 : reserved.output / choices,
      choices,
    }),
  }
  const prompt = each.api === 'chat' ? { messages: [{ role: 'user', content: 'Why?' }] } : { input: 'Why?' }
  const call = modelCall({ operation: bounded, body: bodyOf({ ...prompt, ...each.asked }) })
  const context = baseContext()
  const given = { ...context, policy: policyOf(each), consumer: { id: 'a', plan: 'all' }, asked: true as const }
  const handler = pipeline<typeof given, Call, Reply>()
    .use(route({ maxOutputTokens: 4_096 }))
    .use(budget({ limiter, wallClock: Date.now }))
    .handle(upstream({ transport: answering(each), firstByteMs: 1e6, totalMs: 1e6, idleMs: 1e6, streamTotalMs: 1e6 }))
  await handler(call, given)
  return { charged, told: context.told }
}

/** Admits all, and tells what is charged in the end. */
function limiterOf(settled: (units: number) => void): Limiter {
  const admit = (claims: readonly Claim[]): Decision => ({
    admitted: true,
    checked: true,
    standings: [],
    lost: undefined,
    settle(used: (limit: Limit) => number) {
      for (const { limit } of claims) settled(used(limit))
    },
    cancel: () => {},
  })
  return {
    admit: async (claims) => admit(claims),
    admitAtOnce: admit,
    look: async (claims) => admit(claims),
    failingFor: () => undefined,
    leases: () => [],
    close: async () => {},
  }
}

function answering({ answer: { status, headers, body } }: BillCase): Transport {
  return {
    async send(_target, _operation, _bytes, { progress }) {
      progress.sent = true
      let bytes: Uint8Array | undefined = Buffer.from(JSON.stringify(body))
      return {
        status,
        headers,
        body: {
          async read() {
            const piece = bytes
            bytes = undefined
            return piece
          },
          cancel: () => {},
        },
      }
    },
  }
}

const policies = new Map<string, Policy>()

function policyOf({ price, target }: BillCase): Policy {
  const key = JSON.stringify([price, target])
  let policy = policies.get(key)
  if (policy === undefined) {
    const { kind, zone, ptu } = target
    const place = {
      openai: { openai: { baseUrl: 'https://api.openai.com/v1', model: 'm', key: { env: 'KEY' } } },
      azure: { azure: { endpoint: 'https://a.openai.azure.com', deployment: 'm', key: { env: 'KEY' } } },
    }[kind]
    policy = resolvePolicy(
      {
        plans: { all: { limits: [{ usd: 10_000, per: 'month' }] } },
        models: { default: { targets: [{ ...place, ...(zone ? { zone } : {}), ...(ptu ? { ptu } : {}) }], price } },
      },
      { source: 'a case', bounds: { env: { KEY: 'k' }, hosts: [], readable: ['KEY'] }, defaultTarget: undefined },
    )
    policies.set(key, policy)
  }
  return policy
}
