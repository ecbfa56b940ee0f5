import type { AttemptFacts, FinishedRequest, TraceContext } from '@tollgate/middleware'

export const TRACE: TraceContext = {
  traceId: '0af7651916cd43dd8448eb211c80319c',
  parentId: 'b7ad6b7169203331',
  spanId: 'c0ffee0000000001',
  isSampled: true,
  state: undefined,
}

/** A call that was answered. */
export function attempt(change: Partial<AttemptFacts> = {}): AttemptFacts {
  return {
    model: 'chat',
    target: 'azure/gpt',
    startedAt: 1_800_000_000_020,
    ms: 1_234.5,
    asked: {
      spanId: 'c0ffee0000000002',
      kind: 'azure',
      model: 'gpt-5-mini',
      url: 'https://res.openai.azure.com/openai/v1/chat/completions',
    },
    usage: { input: 100, cachedInput: 40, output: 20, cacheWrite: 5, reasoning: 7 },
    costNanoUsd: 123_456,
    ...change,
  }
}

/** A request that was answered by one call, with what the test wants different. */
export function finishedRequest({ facts, story, ...change }: Partial<FinishedRequest> = {}): FinishedRequest {
  return {
    requestId: 'r-1',
    call: 0,
    startedAt: 1_800_000_000_000,
    ms: 1_300,
    firstTokenMs: undefined,
    status: 200,
    method: 'POST',
    trace: TRACE,
    facts: {
      consumer: 'alice',
      plan: 'pro',
      model: 'chat',
      cache: 'miss',
      attempts: [attempt()],
      costNanoUsd: 123_456,
      ...facts,
    },
    story: { surface: 'chat-completions', operation: 'chat', route: 'chat', steps: [], ...story },
    ...change,
  }
}
