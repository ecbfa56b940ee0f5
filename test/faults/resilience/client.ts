import {
  chatCompletions,
  type FinishedRequest,
  fromIterable,
  type GatewayOptions,
  type HttpResponse,
  isStream,
  issueKey,
  type Policy,
  type ReplyHeaders,
  resolvePolicy,
  trace,
} from '@tollgate/middleware'
import { request } from '../../support/base-context.ts'
import { unique } from '../../support/consumers.ts'
import { gatewayOver } from '../../support/gateway.ts'

/** Milliseconds. */
export type Deadlines = Pick<GatewayOptions, 'firstByteMs' | 'idleMs' | 'totalMs' | 'streamTotalMs'>

/** Which nothing comes near that answers, on however busy a machine. */
export const LONG: Deadlines = { firstByteMs: 15_000, idleMs: 15_000, totalMs: 20_000, streamTotalMs: 20_000 }

/** Dollars a day: no test comes near it. */
const BUDGET_USD = 1

/** What a caller got. */
export interface Got {
  readonly status: number
  readonly headers: ReplyHeaders
  /** As far as it came. */
  readonly text: string
  /** Whether a stream ended before its end. */
  readonly isBroken: boolean
  readonly facts: FinishedRequest['facts']
  readonly ms: number
}

/** Of a dry run's answer. */
export interface Looked {
  readonly cache: 'hit' | 'miss' | 'bypass'
  /** Nano-dollars that are reserved for one call. */
  readonly reserved: number
  /** Nano-dollars that the budget has left. */
  readonly left: number
}

/** A caller of a gateway of its own, over stores in memory. */
export interface Client {
  readonly policy: Policy
  ask(question: string, streamed: boolean): Promise<Got>
  /** What would become of it, which takes nothing. */
  look(question: string, streamed: boolean): Promise<Looked>
  close(): Promise<void>
}

/** @param models as a policy has them; `default` is asked */
export async function openClient(models: object, deadlines = LONG): Promise<Client> {
  const policy = resolvePolicy(
    { plans: { all: { limits: [{ usd: BUDGET_USD, per: 'day' }] } }, models },
    {
      source: 'the test',
      bounds: { env: { KEY: 'k' }, readable: ['KEY'], hosts: ['127.0.0.1', '*.invalid'] },
      defaultTarget: undefined,
    },
  )
  const gateway = gatewayOver(policy, deadlines)
  const ended = new Map<string, PromiseWithResolvers<FinishedRequest>>()
  const entry = trace({
    refuse: chatCompletions.refuse,
    handler: () => gateway.handler(chatCompletions),
    finished: (finished) => ended.get(finished.requestId)?.resolve(finished),
  })
  const consumer = { consumer: 'a', plan: 'all', defaultPlan: 'all', plans: ['all'], now: Date.now() }
  const { key } = await issueKey(gateway.consumers, consumer)

  async function send(question: string, streamed: boolean, more: Readonly<Record<string, string>> = {}): Promise<Got> {
    const messages = [{ role: 'user', content: question }]
    const body = Buffer.from(JSON.stringify({ messages, max_tokens: 20, ...(streamed && { stream: true }) }))
    const requestId = unique('request')
    const end = Promise.withResolvers<FinishedRequest>()
    ended.set(requestId, end)
    const headers = new Headers({ 'x-api-key': key, 'x-request-id': requestId, ...more })
    const started = performance.now()
    const response = await entry({ ...request, headers, body: fromIterable([body]) }, () => {})
    const { text, isBroken } = await textOf(response)
    const { facts } = await end.promise
    ended.delete(requestId)
    return {
      status: response.status,
      headers: response.headers,
      text,
      isBroken,
      facts,
      ms: performance.now() - started,
    }
  }

  return {
    policy,
    ask: send,
    async look(question, streamed) {
      const { text } = await send(question, streamed, { 'x-tollgate-dry-run': 'true' })
      const { cache, worst, limits } = JSON.parse(text) as Told
      const money = limits.find(({ counts }) => counts === 'nano_usd')
      return { cache, reserved: worst?.nano_usd ?? 0, left: money?.left ?? 0 }
    },
    close: () => gateway.close(),
  }
}

interface Told {
  readonly cache: Looked['cache']
  readonly worst: { readonly nano_usd: number } | null
  readonly limits: readonly { readonly counts: string; readonly left: number }[]
}

async function textOf({ body }: HttpResponse): Promise<Pick<Got, 'text' | 'isBroken'>> {
  if (body === null || !isStream(body)) return { text: Buffer.from(body ?? []).toString(), isBroken: false }
  let text = ''
  try {
    for (let piece = await body.read(); piece !== undefined; piece = await body.read()) text += Buffer.from(piece)
    return { text, isBroken: !text.includes('data: [DONE]') }
  } catch {
    return { text, isBroken: true }
  }
}
