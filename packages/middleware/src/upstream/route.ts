import type { ChatBody, CompletionRequest } from '../completion/index.ts'
import type { Middleware, Refusal } from '../pipeline/index.ts'
import type { CacheRule, Policy } from '../policy/index.ts'
import { type Target, targetOf } from './target.ts'

/** Where a request goes, and the exact body that goes there. */
export interface Routed {
  readonly routed: {
    readonly route: string
    readonly target: Target
    readonly body: ChatBody
    readonly cache: CacheRule | undefined
  }
}

export interface RouteOptions {
  readonly name: keyof Policy['routes']
  readonly policy: () => Policy
}

/**
 * Resolves the model that a request names. Refuses with 400 (`invalid_request`) a name that the policy doesn't have,
 * and with 500 (`not_configured`) when the route's own model has no target.
 */
export function route(options: RouteOptions): Middleware<{ readonly completion: CompletionRequest }, Routed> {
  return function route(_request, context, next) {
    const policy = options.policy()
    const { model: defaultModel, cache } = policy.routes[options.name]
    const { model = defaultModel, body } = context.completion
    const settings = policy.models.get(model)
    if (settings === undefined) return context.refuse(model === defaultModel ? NOT_CONFIGURED : unknownModel())
    context.record.model = model
    return next({
      routed: {
        route: options.name,
        target: targetOf(settings),
        body: { ...body, model: settings.model } as ChatBody,
        cache,
      },
    })
  }
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
