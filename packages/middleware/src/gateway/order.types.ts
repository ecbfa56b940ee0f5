/*
 * Wrong orders of the gateway's middleware must not compile. Checked by the type check alone: an error that is expected and
 * does not come is an error.
 */
import type { authenticate as Authenticate, Authenticated } from '../auth/index.ts'
import type { completionCache } from '../cache/index.ts'
import type { budget as Budget, modelLimits as ModelLimits, requestLimits as RequestLimits } from '../limits/index.ts'
import type { Call, Reply } from '../operations/index.ts'
import { type GatewayRequest, type HttpReply, type Middleware, pipeline } from '../pipeline/index.ts'
import type { pinPolicy as PinPolicy, WithPolicy } from '../policy/index.ts'
import type { completions as Completions } from '../surfaces/index.ts'
import { fallback, type route as Route, type Routed, type upstream as Upstream } from '../upstream/index.ts'

type Inside = WithPolicy & Authenticated<'call'> & { readonly admitted: true }

declare const pinPolicy: ReturnType<typeof PinPolicy>
declare const authenticate: ReturnType<typeof Authenticate<'call'>>
declare const authenticateReader: ReturnType<typeof Authenticate<'read'>>
declare const requestLimits: ReturnType<typeof RequestLimits>
declare const route: ReturnType<typeof Route>
declare const modelLimits: ReturnType<typeof ModelLimits>
declare const cache: ReturnType<typeof completionCache>
declare const budget: ReturnType<typeof Budget>
declare const upstream: ReturnType<typeof Upstream>
declare const completions: ReturnType<typeof Completions<Inside>>
declare const timing: Middleware<{}, {}, GatewayRequest, HttpReply>

// In order, it compiles.
const asked = pipeline<Inside & Routed, Call, Reply>().use(modelLimits).use(cache).use(budget).handle(upstream)
pipeline<Inside, Call, Reply>().use(route).handle(fallback(asked))
pipeline().use(timing).use(pinPolicy).use(authenticate).use(requestLimits).handle(completions)

// @ts-expect-error: a budget before the cache, which alone tells that the model is really asked
pipeline<Inside, Call, Reply>().use(route).use(modelLimits).use(budget)

// @ts-expect-error: a model's limits left out
pipeline<Inside, Call, Reply>().use(route).use(cache)

// @ts-expect-error: a middleware of calls among those of HTTP
pipeline().use(pinPolicy).use(authenticate).use(route)

// @ts-expect-error: a middleware of HTTP among those of calls
pipeline<Inside, Call, Reply>().use(requestLimits)

// @ts-expect-error: a caller told by a policy that isn't pinned yet
pipeline().use(authenticate)

// @ts-expect-error: limits before the caller
pipeline().use(pinPolicy).use(requestLimits)

// @ts-expect-error: requests' limits left out
pipeline().use(pinPolicy).use(authenticate).handle(completions)

// @ts-expect-error: a model asked by a key that may only read
pipeline().use(pinPolicy).use(authenticateReader).use(requestLimits).handle(completions)

// @ts-expect-error: the model asked without a budget
pipeline<Inside, Call, Reply>().use(route).use(modelLimits).use(cache).handle(upstream)

// @ts-expect-error: the cache before it is known which model would answer
pipeline<Inside, Call, Reply>().use(cache)

// @ts-expect-error: a model's limits before it is known which one
pipeline<Inside, Call, Reply>().use(modelLimits)

// @ts-expect-error: the model asked without a route
pipeline<Inside, Call, Reply>().handle(upstream)
