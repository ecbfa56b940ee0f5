import {
  bodyOf,
  type Call,
  chat,
  identityOf,
  type Reply,
  type Routed,
  type Target,
  type TargetSettings,
  type UpstreamFailure,
} from '@tollgate/middleware'
import { request, type ToldContext } from './base-context.ts'

/** A call of the chat operation, for a middleware that is tested alone. @param change what the test wants different */
export function modelCall(change: Partial<Call> = {}): Call {
  const { headers, signal } = request
  const body = bodyOf({ messages: [{ role: 'user', content: 'Why?' }] })
  const defaults = { operation: chat, route: 'generate', model: undefined, streamed: false, bodyDigest: () => 'd' }
  return { ...defaults, headers, signal, body, ...change }
}

/** A target with an id of its own. */
export function targetAt<S extends TargetSettings>(settings: S, change: Partial<Target> = {}): Target {
  const identity = identityOf(settings)
  return { id: 't', identity, priority: 1, weight: 1, zone: undefined, price: undefined, settings, ...change }
}

/** What `route` and a budget add for a call that may go to these targets. */
export function calledAt(call: Call, first: Target, ...others: readonly Target[]) {
  const candidates: Routed['routed']['candidates'] = [
    { target: first, tier: undefined, rank: 1 },
    ...others.map((target) => ({ target, tier: undefined, rank: 1 })),
  ]
  return {
    routed: { model: { name: 'default' }, body: call.body, candidates },
    reserved: { attempts: 1, output: undefined as number | undefined },
  }
}

export function statusOf(reply: Reply): number {
  return reply.kind === 'refused' ? reply.refusal.status : 200
}

/** How the call failed, as the log line has it. */
export function failureTold(reply: Reply, { told }: ToldContext): UpstreamFailure | undefined {
  return told.upstream ?? (reply.kind === 'refused' ? reply.refusal.upstream : undefined)
}
