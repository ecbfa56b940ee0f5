/*
 * What must not compile. Checked by the type check alone: an error that is expected and does not come is an error.
 */
import { jsonResponse, type Middleware, pipeline } from './index.ts'

interface WithConsumer {
  readonly consumer: { readonly id: string }
}

declare const authenticate: Middleware<{}, WithConsumer>
declare const limit: Middleware<WithConsumer>
declare const limitBy: <Needs extends object>(key: (context: Needs) => string) => Middleware<Needs>

// In order, it compiles.
pipeline()
  .use(authenticate)
  .use(limit)
  .handle((_request, { consumer }) => jsonResponse(200, consumer.id))
pipeline()
  .use(authenticate)
  .use(limitBy(({ consumer }: WithConsumer) => consumer.id))

// @ts-expect-error: a limiter before the middleware that finds out whom to limit
pipeline().use(limit)

// @ts-expect-error: the same, by a key that the context doesn't hold yet
pipeline().use(limitBy(({ consumer }: WithConsumer) => consumer.id))

// @ts-expect-error: a handler that needs what no middleware adds
pipeline().handle((_request, { consumer }) => jsonResponse(200, consumer.name))

// @ts-expect-error: a middleware that forgets to pass on what it promised
pipeline().use<WithConsumer>((_request, _context, next) => next())

// @ts-expect-error: a middleware that passes on something else
pipeline().use<WithConsumer>((_request, _context, next) => next({ consumer: 7 }))

// Another request may be passed on in the place of the one that came, with and without an addition.
pipeline().use((request, _context, next) => next(undefined, { ...request, signal: AbortSignal.timeout(1) }))
pipeline().use<WithConsumer>((request, _context, next) => next({ consumer: { id: 'x' } }, request))

// @ts-expect-error: in the place of the request, something that is none
pipeline().use((request, _context, next) => next({}, request.signal))

pipeline<WithConsumer>().use((_request, context, next) => {
  // @ts-expect-error: the context is read-only
  context.consumer = { id: 'x' }
  return next()
})

// @ts-expect-error: a middleware must answer
pipeline().use(() => undefined)

// @ts-expect-error: a fork does not have what the other branch added
pipeline().use((_request, context, next) => next(context.consumer))
