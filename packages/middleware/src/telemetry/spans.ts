import {
  type AttemptFacts,
  type FinishedRequest,
  newSpanId,
  outcomeOf,
  type Step,
  type StepName,
  type TokenUsage,
  type UpstreamFailure,
} from '../pipeline/index.ts'

/*
 * What a request's end comes to in the words of OpenTelemetry: its spans. Pure, and the same for whatever they are exported to.
 * Names of models' calls are those of the GenAI conventions (https://opentelemetry.io/docs/specs/semconv/gen-ai/); ours begin with
 * `tollgate.`. Never a prompt, an answer or a key: nothing is told but facts that the log line may hold, too.
 */

export type AttributeValue = string | number | boolean
export type Attributes = Readonly<Record<string, AttributeValue>>

/** A span that has ended. */
export interface Span {
  readonly name: string
  readonly kind: 'server' | 'internal' | 'client'
  readonly traceId: string
  readonly spanId: string
  readonly parentId: string | undefined
  /** Milliseconds since 1970. */
  readonly startedAt: number
  readonly ms: number
  readonly attributes: Attributes
  readonly failed: boolean
  /** Of faults; each is an event of the span. */
  readonly exceptions: readonly Attributes[]
}

export interface SpanOptions {
  /** Whether the host records a request of its own, under which the gateway's span stands. Else that is the request itself. */
  readonly hasHostRequest: boolean
  /** Where the keys, the limits' counters and the completions are kept: `azure.tables`, `redis`; `undefined` for memory. */
  readonly stores: Readonly<Record<'keys' | 'counters' | 'completions', string | undefined>>
}

/** The spans of a request that has ended; none where its trace is not exported. */
export function spansOf(request: FinishedRequest, options: SpanOptions): readonly Span[] {
  const { trace, facts, story } = request
  if (trace?.spanId === undefined || !trace.isSampled) return []
  const { traceId, spanId } = trace
  const calls = (facts.attempts ?? []).map((attempt) => callSpan(attempt, traceId, spanId, story.operation))
  // What it was is told by the request's own end; this is of a call that went on after that.
  if (request.call > 0) return calls
  return [requestSpan(request, traceId, spanId, options), ...waits(request, traceId, spanId, options), ...calls]
}

function requestSpan(request: FinishedRequest, traceId: string, spanId: string, options: SpanOptions): Span {
  const { facts, story, status, ms, startedAt, stream, firstTokenMs, faults = [] } = request
  const outcome = outcomeOf(request)
  const failed = outcome === 'failed'
  return {
    name: story.surface === undefined ? 'tollgate' : `tollgate ${story.surface}`,
    kind: options.hasHostRequest ? 'internal' : 'server',
    traceId,
    spanId,
    parentId: request.trace?.parentId,
    startedAt,
    ms,
    attributes: told({
      ...(options.hasHostRequest ? {} : { 'http.request.method': request.method }),
      'http.response.status_code': status,
      'error.type': failed ? (request.refusal ?? stream ?? String(status)) : undefined,
      'tollgate.request_id': request.requestId,
      'tollgate.outcome': outcome,
      'tollgate.refusal': request.refusal,
      'tollgate.status': status,
      'tollgate.surface': story.surface,
      'tollgate.route': story.route,
      'tollgate.consumer': facts.consumer,
      'tollgate.plan': facts.plan,
      'tollgate.model': facts.model,
      'tollgate.cache': facts.cache,
      'tollgate.limit': facts.limit,
      'tollgate.policy': facts.policy,
      'tollgate.prompt_hash': facts.promptHash,
      'tollgate.stream': stream,
      'tollgate.first_token_ms': firstTokenMs,
      'tollgate.cost_nano_usd': facts.costNanoUsd,
      'tollgate.saved_nano_usd': facts.sparedNanoUsd,
      'tollgate.uncertain': facts.uncertain,
      'tollgate.clamped': facts.clamped,
      'tollgate.dry_run': facts.dryRun,
    }),
    failed,
    exceptions: faults.map(exception),
  }
}

/** Shorter waits are of this process's own memory, in milliseconds. */
const SHORTEST_WAIT_MS = 1

const STORES: Readonly<Partial<Record<StepName, keyof SpanOptions['stores']>>> = {
  key: 'keys',
  limits: 'counters',
  budget: 'counters',
  cache: 'completions',
  store: 'completions',
}

/** What a request waited for in a store. Which calls to it were made, a step does not tell. */
function waits(
  { startedAt, ms, story }: FinishedRequest,
  traceId: string,
  parentId: string,
  { stores }: SpanOptions,
): Span[] {
  const spans: Span[] = []
  let from = 0
  for (const step of story.steps) {
    const began = from
    from += step.ms
    const store = STORES[step.name]
    const system = store && stores[store]
    // An answer may be stored when it was sent.
    if (system === undefined || step.ms < SHORTEST_WAIT_MS || from > ms || isOthersCall(step)) continue
    spans.push({
      name: `tollgate ${step.name}`,
      kind: 'client',
      traceId,
      spanId: newSpanId(),
      parentId,
      startedAt: startedAt + began,
      ms: step.ms,
      attributes: {
        'db.system.name': system,
        'db.operation.name': step.name,
        'tollgate.step': step.name,
        'tollgate.decision': step.decision,
      },
      failed: step.decision === 'store_unavailable',
      exceptions: [],
    })
  }
  return spans
}

/** Answered by another request's call: that was waited for, and no store. */
function isOthersCall({ name, decision }: Step): boolean {
  return name === 'cache' && decision === 'collapsed'
}

function callSpan(attempt: AttemptFacts, traceId: string, parentId: string, operation: string | undefined): Span {
  const { asked, failure, usage, ms, startedAt = 0 } = attempt
  const { host, port } = addressOf(asked?.url)
  const error = failure && errorOf(failure)
  const failed = failure !== undefined && failure.code !== 'client_left'
  const call = callOf(attempt, operation)
  return {
    name: `${call['gen_ai.operation.name']} ${call['gen_ai.request.model']}`,
    kind: 'client',
    traceId,
    spanId: asked?.spanId ?? newSpanId(),
    parentId,
    startedAt,
    ms,
    attributes: told({
      ...call,
      // App Insights' views of agents go by the name that the conventions had before.
      'gen_ai.system': call['gen_ai.provider.name'],
      ...usageOf(usage),
      'openai.response.service_tier': attempt.tier,
      'http.request.method': 'POST',
      'http.response.status_code': failure === undefined ? 200 : failure.status,
      'server.address': host,
      'server.port': port,
      'error.type': failed ? error : undefined,
      // App Insights drops the conventions' own.
      'tollgate.error': error,
      'tollgate.model': attempt.model,
      'tollgate.target': attempt.target,
      'tollgate.spillover': attempt.spillover,
      'tollgate.first_token_ms': attempt.firstTokenMs,
      'tollgate.cost_nano_usd': attempt.costNanoUsd,
    }),
    failed,
    exceptions: [],
  }
}

/** What spans and metrics say of a call alike. */
export function callOf({ model, asked }: AttemptFacts, operation = 'chat') {
  return {
    // The conventions have one name for whatever a conversation is asked by.
    'gen_ai.operation.name': operation === 'embeddings' ? 'embeddings' : 'chat',
    'gen_ai.provider.name': PROVIDERS[asked?.kind ?? ''] ?? asked?.kind ?? 'unknown',
    'gen_ai.request.model': asked?.model ?? model,
  }
}

const PROVIDERS: Readonly<Record<string, string>> = { azure: 'azure.ai.openai', openai: 'openai' }

/** As the line tells them: all that was read, and all that was written. */
function usageOf(usage: TokenUsage | undefined): Readonly<Record<string, number | undefined>> {
  if (usage === undefined) return {}
  const { input, output, cachedInput, cacheWrite = 0, cacheWriteLong = 0, reasoning } = usage
  return {
    'gen_ai.usage.input_tokens': input,
    'gen_ai.usage.output_tokens': output,
    'gen_ai.usage.cache_read.input_tokens': cachedInput || undefined,
    'gen_ai.usage.cache_creation.input_tokens': cacheWrite + cacheWriteLong || undefined,
    'gen_ai.usage.reasoning.output_tokens': reasoning,
  }
}

/** By its code, or the status that it came with. */
export function errorOf({ code, status }: UpstreamFailure): string {
  return code ?? (status === undefined ? 'failed' : String(status))
}

function addressOf(url: string | undefined): { readonly host?: string; readonly port?: number } {
  const parsed = url === undefined ? null : URL.parse(url)
  if (parsed === null) return {}
  return { host: parsed.hostname, port: Number(parsed.port || (parsed.protocol === 'http:' ? 80 : 443)) }
}

/** A fault as the log tells it: its kind and place, and of its message what may be shown. */
function exception({ fault, message, at }: Readonly<Record<string, unknown>>): Attributes {
  const type = String(fault)
  const text = typeof message === 'string' ? message : type
  const places = Array.isArray(at) ? at : []
  return {
    'exception.type': type,
    'exception.message': text,
    'exception.stacktrace': [`${type}: ${text}`, ...places.map((place) => `    ${place}`)].join('\n'),
  }
}

function told(attributes: Readonly<Record<string, AttributeValue | undefined>>): Attributes {
  const told: Record<string, AttributeValue> = {}
  for (const name in attributes) {
    const value = attributes[name]
    if (value !== undefined) told[name] = value
  }
  return told
}
