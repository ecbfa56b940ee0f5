/*
 * What must not compile. Checked by the type check alone: an error that is expected and does not come is an error.
 */
import { pipeline } from '../pipeline/index.ts'
import { budget, type Limiter, type Metered, rateLimit, requestClaims, type Subject } from './index.ts'

interface WithConsumer {
  readonly consumer: { readonly id: string }
}

declare const limiter: Limiter
declare const subjectsOf: (context: WithConsumer) => readonly Subject[]
declare const wallClock: () => number

const requests = rateLimit({
  limiter,
  claims: (context: WithConsumer) => requestClaims(subjectsOf(context)),
  wallClock,
})
const usage = budget({ limiter, subjects: subjectsOf, wallClock })

// In order, it compiles.
pipeline<WithConsumer & Metered>()
  .use(requests)
  .use(usage)
  .handle((_request, { routed }) => new Response(routed.body.model))

// @ts-expect-error: limits before it is known whose
pipeline().use(requests)

// @ts-expect-error: a budget before it is known for which model
pipeline<WithConsumer>().use(usage)
