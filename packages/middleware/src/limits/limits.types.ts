/*
 * What must not compile. Checked by the type check alone: an error that is expected and does not come is an error.
 */
import type { Body, Call, Reply } from '../operations/index.ts'
import {
  type GatewayRequest,
  type Handler,
  type HttpReply,
  type Middleware,
  type ModelRules,
  pipeline,
} from '../pipeline/index.ts'
import type { Policy } from '../policy/index.ts'
import {
  type Admitted,
  budget,
  type Limiter,
  type ModelAdmitted,
  modelLimits,
  noBudget,
  noLimits,
  noModelLimits,
  type Reserved,
  requestLimits,
} from './index.ts'

interface WithPolicy {
  readonly policy: Policy
}
interface WithConsumer {
  readonly consumer: { readonly id: string; readonly plan: string }
}
interface Routed {
  readonly routed: {
    readonly model: { readonly name: string }
    readonly price: undefined
    readonly rules: ModelRules
    readonly body: Body
    readonly candidates: readonly string[]
  }
}
interface Asked {
  readonly asked: true
}

declare const options: { readonly limiter: Limiter; readonly wallClock: () => number }
declare const pinPolicy: Middleware<{}, WithPolicy>
declare const authenticate: Middleware<WithPolicy, WithConsumer>
declare const completions: Handler<WithPolicy & WithConsumer & Admitted>
declare const route: Middleware<WithPolicy & WithConsumer, Routed, Call, Reply>
declare const cache: Middleware<WithConsumer & Routed & ModelAdmitted, Asked, Call, Reply>
declare const upstream: Handler<Routed & { readonly reserved: Reserved }, Call, Reply>

const http = pipeline().use(pinPolicy).use(authenticate)
const calls = pipeline<WithPolicy & WithConsumer & Admitted, Call, Reply>().use(route)

// In order, it compiles; what is around keeps its types.
http.use(requestLimits(options)).handle(completions)
calls.use(modelLimits(options)).use(cache).use(budget(options)).handle(upstream)
calls
  .use(modelLimits(options))
  .use(cache)
  .use(budget(options))
  .use((_call, { routed, reserved }, next) => {
    const known: readonly [readonly string[], number | undefined] = [routed.candidates, reserved.output]
    return next({ known })
  })

// Who wants none of them says so.
http.use(noLimits()).handle(completions)
calls.use(noModelLimits()).use(cache).use(noBudget()).handle(upstream)

// @ts-expect-error: limits before it is known whose
pipeline().use(pinPolicy).use(requestLimits(options))

// @ts-expect-error: limits of a policy that isn't pinned yet
pipeline<WithConsumer>().use(requestLimits(options))

// @ts-expect-error: requests' limits left out
http.handle(completions)

// @ts-expect-error: a model's limits before it is known which model
pipeline<WithPolicy & WithConsumer & Admitted, Call, Reply>().use(modelLimits(options))

// @ts-expect-error: a model's limits left out
calls.use(cache)

// @ts-expect-error: a budget before the cache, which alone tells that the model is really asked
calls.use(modelLimits(options)).use(budget(options))

// @ts-expect-error: nor does the cost of what the cache answers count
calls.use(modelLimits(options)).use(noBudget())

// @ts-expect-error: a budget before it is known for which model
pipeline<WithPolicy & WithConsumer & ModelAdmitted & Asked, Call, Reply>().use(budget(options))

// @ts-expect-error: the model asked without a budget
calls.use(modelLimits(options)).use(cache).handle(upstream)

// @ts-expect-error: limits on requests in the onion of calls
calls.use(requestLimits(options))

// @ts-expect-error: limits on a model's requests in the onion of HTTP
pipeline<WithPolicy & WithConsumer & Routed, GatewayRequest, HttpReply>().use(modelLimits(options))
