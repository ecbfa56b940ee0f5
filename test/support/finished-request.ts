import type { FinishedRequest } from '@tollgate/middleware'

/** A request's end as `trace` tells it: a hit of Alice's, with what a test wants different. */
export function finishedRequest({
  facts = {},
  story = {},
  ...more
}: Partial<Omit<FinishedRequest, 'story'>> & {
  readonly story?: Partial<FinishedRequest['story']>
} = {}): FinishedRequest {
  return {
    requestId: '6f1c9e0a-8d5e-4a3b-9f5e-2d1c0b9a8f7e',
    call: 0,
    startedAt: Date.UTC(2026, 10, 27, 12),
    ms: 3.216,
    firstTokenMs: undefined,
    status: 200,
    ...more,
    facts: {
      consumer: 'alice',
      plan: 'pro',
      policy: '0123456789ab',
      promptHash: 'Yx5wq0Vb2o8mJ7nLk3cRzT1uHs9dGf4aPeWiXy6vB0M',
      model: 'chat',
      cache: 'hit',
      spared: { input: 11, cachedInput: 0, output: 7 },
      sparedNanoUsd: 1_500,
      ...facts,
    },
    story: {
      surface: 'chat-completions',
      operation: 'chat',
      streamed: false,
      route: 'chat',
      standings: [
        { limit: { name: 'requests', measure: 'requests', quota: 1_000 }, remaining: 990 },
        { limit: { name: 'concurrent', measure: 'concurrency', quota: 50 }, remaining: 49 },
      ],
      steps: [
        { name: 'key', decision: 'known', ms: 0.112 },
        { name: 'limits', decision: 'admitted', ms: 0.234 },
        { name: 'body', decision: 'decoded', ms: 0.345 },
        { name: 'route', decision: 'named', ms: 0.021 },
        { name: 'cache', decision: 'hit', ms: 0.456 },
      ],
      ...story,
    },
  }
}

/** What a call to a model took, and what it cost. */
export function miss(
  costNanoUsd: number,
  { input = 11, output = 7, model = 'chat', target = 'azure-1' } = {},
): FinishedRequest['facts'] {
  const usage = { input, cachedInput: 0, output }
  const price = PRICE
  const { spared: _, sparedNanoUsd: __, ...facts } = finishedRequest().facts
  const attempt = { model, target, ms: 812.5, usage, costNanoUsd, price }
  return {
    ...facts,
    model,
    cache: 'miss',
    usage,
    costNanoUsd,
    attempts: [attempt],
    spared: undefined,
    sparedNanoUsd: undefined,
  } as never
}

const PRICE = { rates: { input: 1_250, output: 10_000 } }
