import type { BaseContext } from './context.ts'
import type { GatewayRequest } from './request.ts'

/**
 * Passes on to the next room. Where a middleware adds to the context, forgetting to pass it does not compile. The rooms
 * within get the same request, or the one that is passed in its place: with a signal that aborts for one more reason.
 */
export type Next<Adds extends object = {}> = {} extends Adds
  ? (added?: Adds, request?: GatewayRequest) => Promise<Response>
  : (added: Adds, request?: GatewayRequest) => Promise<Response>

/**
 * One room of the onion: an immutable context flows down, a `Response` flows up.
 * It returns a `Response` for a decision, throws for a fault, and calls `next` at most once.
 */
export type Middleware<Needs extends object = {}, Adds extends object = {}> = (
  request: GatewayRequest,
  context: Readonly<Needs & BaseContext>,
  next: Next<Adds>,
) => Response | Promise<Response>

/** The innermost room, and the type of a finished pipeline. */
export type Handler<Needs extends object = {}> = (
  request: GatewayRequest,
  context: Readonly<Needs & BaseContext>,
) => Response | Promise<Response>

/** Immutable: `use` returns a longer pipeline, so that two routes can fork from a common beginning. */
export interface Pipeline<Given extends object, Context extends object> {
  use<Adds extends object = {}>(middleware: Middleware<Context, Adds>): Pipeline<Given, Context & Adds>
  handle(handler: Handler<Context>): Handler<Given>
}

/**
 * Starts a pipeline whose caller gives `Given` beside the base context.
 *
 * @example
 * const handler = pipeline().use(authenticate(…)).use(rateLimit(…)).handle(upstream(…))
 */
export function pipeline<Given extends object = {}>(): Pipeline<Given, Given> {
  return extend([])
}

// Inside, the contexts' types are erased: `use` has already checked that each room gets what it needs.
// biome-ignore lint/suspicious/noExplicitAny: the public types above carry the proof
type Erased = any

function extend(rooms: readonly Middleware<Erased, Erased>[]): Pipeline<Erased, Erased> {
  return {
    use: (middleware: Middleware<Erased, Erased>) => extend([...rooms, middleware]),
    handle: (handler: Handler<Erased>) => compose(rooms, handler),
  }
}

function compose(rooms: readonly Middleware<Erased, Erased>[], handler: Handler<Erased>): Handler<Erased> {
  const run = (index: number, request: GatewayRequest, context: object): Response | Promise<Response> => {
    const room = rooms[index]
    if (room === undefined) return handler(request, context as Erased)
    let passedOn = false
    const next = async (added?: object, passed = request): Promise<Response> => {
      if (passedOn) throw new Error('next() was called more than once by one middleware')
      passedOn = true
      return run(index + 1, passed, added === undefined ? context : { ...context, ...added })
    }
    return room(request, context as Erased, next)
  }
  return async (request, context) => run(0, request, context)
}
