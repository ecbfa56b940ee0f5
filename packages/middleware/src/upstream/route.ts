import { type ChatBody, type CompletionRequest, statesOutput, withOutputBound } from '../operations/index.ts'
import type { Middleware, Refusal, RequestRecord } from '../pipeline/index.ts'
import { type CacheRule, type Policy, type Price, routeOf } from '../policy/index.ts'
import { type Removal, savedTokens, transform, transformLabel } from '../transform/index.ts'
import { type Target, targetOf } from './target.ts'

/** Where a request goes, and the exact body that goes there. */
export interface Routed {
  readonly routed: {
    readonly route: string
    /** The policy's name of the model. */
    readonly model: string
    /** `undefined` where nobody said. */
    readonly price: Price | undefined
    /** The most tokens of one request; `undefined` where nobody said. */
    readonly contextWindow: number | undefined
    readonly target: Target
    readonly body: ChatBody
    /** Which transforms the prompt in `body` went through, with their versions; '' for none. */
    readonly transforms: string
    readonly cache: CacheRule | undefined
  }
}

export interface RouteOptions {
  readonly name: string
  readonly policy: () => Policy
  /** What an answer may have, in tokens of each choice, where the request doesn't say. */
  readonly maxOutputTokens: number
}

/**
 * Resolves the model that a request names, and the exact body for it: its prompt by the route's transforms, with a bound on
 * the answer, and, for a stream, with its usage asked for. Notes the tokens that the transforms saved where the model was
 * asked. Refuses with 400 (`invalid_request`) a name that the policy doesn't have,
 * and with 500 (`not_configured`) when the route's own model has no target.
 */
export function route(options: RouteOptions): Middleware<{ readonly completion: CompletionRequest }, Routed> {
  return async function route(_request, context, next) {
    const policy = options.policy()
    const { model: defaultModel, cache, transforms } = routeOf(policy, options.name)
    const { model = defaultModel, body } = context.completion
    const found = policy.models.get(model)
    if (found === undefined) return context.refuse(model === defaultModel ? NOT_CONFIGURED : unknownModel())
    const { contextWindow } = found
    const [{ settings, price }] = found.targets
    const { record } = context
    record.model = model
    if (price !== undefined) record.price = price
    const { messages, removed } = transform(body.messages as ChatBody['messages'], transforms)
    const onward = () =>
      next({
        routed: {
          route: options.name,
          model,
          price,
          contextWindow,
          target: targetOf(settings),
          body: bounded({ ...body, messages, model: settings.model } as ChatBody, options.maxOutputTokens),
          transforms: transformLabel(transforms),
          cache,
        },
      })
    return removed.length === 0 ? onward() : noting(removed, record, onward)
  }
}

/**
 * Counts what was saved while the answer, or the beginning of its stream, is awaited: a model takes longer than that, but for
 * the first count of a process. Where the model wasn't asked, nothing was saved.
 */
async function noting(
  removed: readonly Removal[],
  record: RequestRecord,
  onward: () => Promise<Response>,
): Promise<Response> {
  const unwanted = new AbortController()
  const counting = savedTokens(removed, unwanted.signal).then(
    (saved) => {
      if (!unwanted.signal.aborted) record.savedTokens = saved
    },
    // A figure for the log is not worth a request.
    () => {},
  )
  let isWanted = false
  try {
    const response = await onward()
    isWanted = response.status === 200 && record.cache !== 'hit' && record.cache !== 'collapsed'
    if (isWanted) await counting
    return response
  } finally {
    if (!isWanted) {
      unwanted.abort()
      delete record.savedTokens
    }
  }
}

function bounded(body: ChatBody, maxOutputTokens: number): ChatBody {
  const asked = statesOutput(body) ? body : withOutputBound(body, maxOutputTokens)
  if (asked.stream !== true) return asked
  return { ...asked, stream_options: { ...Object(asked.stream_options), include_usage: true } }
}

const NOT_CONFIGURED: Refusal = {
  code: 'not_configured',
  status: 500,
  message: 'Internal Server Error: LLM service is not configured.',
}

function unknownModel(): Refusal {
  return {
    code: 'invalid_request',
    status: 400,
    param: 'model',
    message: "'model' must be the name of a configured model",
  }
}
