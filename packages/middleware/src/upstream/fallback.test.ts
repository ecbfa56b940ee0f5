import { expect, test } from 'vitest'
import { baseContext } from '../../../../test/support/base-context.ts'
import { modelCall, targetAt } from '../../../../test/support/model-call.ts'
import { answered } from '../../../../test/support/replies.ts'
import { type Call, type Reply, refused } from '../operations/index.ts'
import { type BaseContext, upstreamFailed } from '../pipeline/index.ts'
import { fallback, type Routed } from './index.ts'

const ANSWER = { choices: [{ index: 0, message: { content: 'a' }, finish_reason: 'stop' }] }
const FAILED: Reply = { ...refused(upstreamFailed({ code: 'timeout' })), shared: true, fallible: true }

function routedTo(name: string, next?: Routed['routed']): Routed['routed'] {
  const target = targetAt({ kind: 'openai', baseUrl: 'https://api.openai.com/v1', model: name, key: undefined })
  return {
    route: 'generate',
    model: {
      name,
      targets: [target],
      fallback: next?.model.name,
      contextWindow: undefined,
      outputField: 'max_tokens',
      temperature: true,
    },
    reason: 'named',
    body: modelCall().body,
    rules: { contextWindow: undefined, outputField: 'max_tokens', temperature: true, tools: [], tiers: [] },
    candidates: [{ target, tier: undefined, rank: 1 }],
    price: undefined,
    cache: undefined,
    transforms: '',
    fallback: next && (() => ({ ...next, reason: 'fallback' })),
  }
}

/** The models that were asked, each of which replies with the next of these. */
async function ask(routed: Routed['routed'], replies: readonly Reply[], call: Call = modelCall()) {
  const asked: string[] = []
  const context = baseContext()
  const handler = fallback<object>((_call, { routed }) => {
    const reply = replies[asked.length]
    asked.push(routed.model.name)
    if (reply === undefined) throw new Error('asked once too often')
    return reply
  })
  return { reply: await handler(call, { ...context, routed }), asked, told: context.told }
}

test('a model whose service failed is followed by the next one, which is told', async () => {
  const { reply, asked, told } = await ask(routedTo('large', routedTo('small')), [FAILED, answered(ANSWER)])
  expect(asked).toEqual(['large', 'small'])
  expect(reply.kind).toBe('answer')
  expect(told).toEqual({ model: 'small', reason: 'fallback' })
})

test('what both have taken is told together, whenever the second one tells it', async () => {
  const usage = (output: number) => ({ input: 10, cachedInput: 0, output })
  const context = baseContext()
  let late: BaseContext['tell'] | undefined
  const handler = fallback<object>((_call, { routed, tell }) => {
    if (routed.model.name === 'large') {
      tell({ usage: usage(100), costNanoUsd: 7, uncertain: true })
      return FAILED
    }
    late = tell
    return answered(ANSWER)
  })
  await handler(modelCall(), { ...context, routed: routedTo('large', routedTo('small')) })
  expect(context.told).toEqual({
    model: 'small',
    reason: 'fallback',
    usage: usage(100),
    costNanoUsd: 7,
    uncertain: true,
  })
  late?.({ usage: usage(3), costNanoUsd: 2 })
  expect(context.told).toEqual({
    model: 'small',
    reason: 'fallback',
    usage: { input: 20, cachedInput: 0, output: 103 },
    costNanoUsd: 9,
    uncertain: true,
  })
})

test('each is followed by its own next one, until one answers or none is left', async () => {
  const three = routedTo('large', routedTo('small', routedTo('tiny')))
  const last = await ask(three, [FAILED, FAILED, answered(ANSWER)])
  expect([last.asked, last.told.model, last.reply.kind]).toEqual([['large', 'small', 'tiny'], 'tiny', 'answer'])
  expect((await ask(three, [FAILED, answered(ANSWER)])).asked).toEqual(['large', 'small'])
  const none = await ask(three, [FAILED, FAILED, FAILED])
  expect([none.asked, none.reply]).toEqual([['large', 'small', 'tiny'], FAILED])
})

test('all are within one deadline, which counts from the first', async () => {
  let now = 1_000
  const asked: (readonly [string, number | undefined])[] = []
  const handler = fallback<object>(
    (_call, { routed }) => {
      asked.push([routed.model.name, routed.startedAt])
      now += 60
      return FAILED
    },
    { totalMs: 100, time: { now: () => now } },
  )
  const reply = await handler(modelCall(), {
    ...baseContext(),
    routed: routedTo('large', routedTo('small', routedTo('tiny'))),
  })
  expect(reply).toBe(FAILED)
  expect(asked).toEqual([
    ['large', undefined],
    ['small', 1_000],
  ])
})

test.each<[string, Routed['routed'], Reply]>([
  ['there is none', routedTo('large'), FAILED],
  ['the caller is at fault, or a limit', routedTo('large', routedTo('small')), { ...FAILED, fallible: false }],
  ['there is an answer', routedTo('large', routedTo('small')), answered(ANSWER)],
])('no other model is asked where %s', async (_what, routed, reply) => {
  expect((await ask(routed, [reply])).asked).toEqual(['large'])
})

test('no other model is asked for a client that has left', async () => {
  const call = modelCall({ signal: AbortSignal.abort() })
  expect((await ask(routedTo('large', routedTo('small')), [FAILED], call)).asked).toEqual(['large'])
})
