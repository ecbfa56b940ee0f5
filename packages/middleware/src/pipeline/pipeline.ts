import type { BaseContext } from './context.ts'
import type { GatewayRequest, HttpReply } from './http.ts'

/**
 * Passes on to the next middleware. Where a middleware adds to the context, forgetting to pass it does not compile. What is
 * within gets the same input, or the one that is passed in its place: with a signal that aborts for one more reason.
 */
export type Next<Adds extends object = {}, In = GatewayRequest, Out = HttpReply> = {} extends Adds
  ? (added?: Adds, input?: In) => Promise<Out>
  : (added: Adds, input?: In) => Promise<Out>

/**
 * One layer of an onion: an immutable context flows down, a reply flows up. It returns a reply for a decision, throws for a
 * fault, and calls `next` at most once.
 */
export type Middleware<Needs extends object = {}, Adds extends object = {}, In = GatewayRequest, Out = HttpReply> = (
  input: In,
  context: Readonly<Needs & BaseContext>,
  next: Next<Adds, In, Out>,
) => Out | Promise<Out>

/** The innermost, and the type of a finished pipeline. */
export type Handler<Needs extends object = {}, In = GatewayRequest, Out = HttpReply> = (
  input: In,
  context: Readonly<Needs & BaseContext>,
) => Out | Promise<Out>

/** Immutable: `use` returns a longer pipeline, so that two can fork from a common beginning. */
export interface Pipeline<Given extends object, Context extends object, In, Out> {
  use<Adds extends object = {}>(
    middleware: Middleware<Context, Adds, In, Out>,
  ): Pipeline<Given, Context & Adds, In, Out>
  handle(handler: Handler<Context, In, Out>): Handler<Given, In, Out>
}

/**
 * Starts a pipeline whose caller gives `Given` beside the base context: of HTTP requests, or of `In` that is answered by `Out`.
 *
 * @example
 * const handler = pipeline().use(pinPolicy(…)).use(authenticate(…)).handle(completions(…))
 */
export function pipeline<Given extends object = {}, In = GatewayRequest, Out = HttpReply>(): Pipeline<
  Given,
  Given,
  In,
  Out
> {
  return extend([])
}

// Inside, the types of contexts and inputs are erased: `use` has already checked that each middleware gets what it needs.
// biome-ignore lint/suspicious/noExplicitAny: the public types above carry the proof
type Erased = any
type AnyMiddleware = Middleware<Erased, Erased, Erased, Erased>
type AnyHandler = Handler<Erased, Erased, Erased>

function extend(middlewares: readonly AnyMiddleware[]): Pipeline<Erased, Erased, Erased, Erased> {
  return {
    use: (middleware: AnyMiddleware) => extend([...middlewares, middleware]),
    handle: (handler: AnyHandler) => compose(middlewares, handler),
  }
}

function compose(middlewares: readonly AnyMiddleware[], handler: AnyHandler): AnyHandler {
  const run = (index: number, input: unknown, context: object): unknown => {
    const middleware = middlewares[index]
    if (middleware === undefined) return handler(input, context as Erased)
    let passedOn = false
    /** What is within gives a promise nearly always, which is passed on as it is: one of its own costs each layer more. */
    const next = (added?: object, passed = input): Promise<unknown> => {
      if (passedOn) return Promise.reject(new Error('next() was called more than once by one middleware'))
      passedOn = true
      try {
        return Promise.resolve(run(index + 1, passed, added === undefined ? context : { ...context, ...added }))
      } catch (fault) {
        return Promise.reject(fault)
      }
    }
    return middleware(input, context as Erased, next)
  }
  return async (input, context) => run(0, input, context)
}
