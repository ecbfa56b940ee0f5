import { createRequire } from 'node:module'
import { join } from 'node:path'
import { type LogLevel, OperatorError, type Refusal } from '@tollgate/middleware'
import { abandonConnection, connected, INVOCATION } from './client-connection.ts'

/*
 * The Functions worker's own side of an invocation, which the library keeps to itself. `@azure/functions-core` is a module
 * that the worker provides, and no package; these types follow its `types-core`.
 */

type CoreLogLevel = 'information' | 'warning' | 'error'

interface RpcData {
  readonly json?: string | null
}

interface CoreContext {
  readonly invocationId: string
  readonly metadata: { readonly bindings?: Readonly<Record<string, { readonly type?: string | null }>> | null }
  readonly request: { readonly triggerMetadata?: Record<string, RpcData> | null }
  log(level: CoreLogLevel, category: 'user', message: string): void
}

interface InvocationModel {
  getArguments(): Promise<unknown>
  invokeFunction(context: unknown, inputs: unknown[], handler: unknown): Promise<unknown>
  getResponse(context: unknown, result: unknown): Promise<unknown>
}

export interface ProgrammingModel {
  readonly name: string
  readonly version: string
  getInvocationModel(context: CoreContext): InvocationModel | Promise<InvocationModel>
  getCapabilities?(defaults: Record<string, string>): Record<string, string> | Promise<Record<string, string>>
}

interface Core {
  registerHook(name: 'appStart', callback: () => void): unknown
  getProgrammingModel(): ProgrammingModel | undefined
  setProgrammingModel(model: ProgrammingModel): void
}

/** An invocation that the host waits for. */
export interface CoreInvocation {
  /** Why the request can't be taken as it came; `undefined` where it can. */
  readonly refusal: Refusal | undefined
  /**
   * Writes a line under the invocation's id. Works until the answer is sent whole, unlike the invocation context's log,
   * which warns of each line that comes after the function has returned.
   */
  log(level: LogLevel, text: string): void
}

/**
 * How long the host's forwarded request may take to arrive after its invocation, in milliseconds. The host sends both at
 * once. A request that it can't send never arrives: a header in it isn't ASCII, or its headers are too long.
 */
const ARRIVAL_MS = 10_000
/** For so long the host tries a request again that it could not send, and a little longer, in milliseconds. */
const RETRIES_MS = 3_000

const OWN_ID = `The header '${INVOCATION}' is the platform's own. Leave it out.`
const UNREADABLE = 'The request could not be read.'

const LEVELS: Readonly<Record<LogLevel, CoreLogLevel>> = { info: 'information', warn: 'warning', error: 'error' }

const invocations = new Map<string, CoreInvocation>()

/** The invocation of this id, until its answer is sent; then, and outside of a worker, `undefined`. */
export function coreInvocation(invocationId: string): CoreInvocation | undefined {
  return invocations.get(invocationId)
}

/**
 * The library's model, in which every invocation ends: the library waits without limit for a request that the host could not
 * forward, and after the host's `functionTimeout` the host restarts the worker, with all that is in flight.
 */
export function boundedModel(model: ProgrammingModel, arrivalMs = ARRIVAL_MS): ProgrammingModel {
  let isStreaming = false
  return {
    name: model.name,
    version: model.version,

    async getCapabilities(defaults) {
      const capabilities = (await model.getCapabilities?.(defaults)) ?? defaults
      isStreaming = capabilities.HttpUri !== undefined
      return capabilities
    },

    async getInvocationModel(context) {
      const { invocationId } = context
      const inner = await model.getInvocationModel(context)
      const isForwarded = isStreaming && isHttp(context)
      const waitMs = isForwardable(context) ? arrivalMs : Math.min(arrivalMs, RETRIES_MS)
      const end = () => invocations.delete(invocationId)
      invocations.set(invocationId, {
        refusal: isForwarded ? withoutBadHeaders(context) : undefined,
        log: (level, text) => context.log(LEVELS[level], 'user', text),
      })
      return {
        async getArguments() {
          const forwardedAs = isForwarded ? forwardedId(context) : invocationId
          try {
            if (forwardedAs !== invocationId) throw new OperatorError(OWN_ID)
            if (isForwarded && !(await connected(invocationId, waitMs))) throw neverArrived(context, waitMs)
            return await inner.getArguments()
          } catch (fault) {
            end()
            // The host waits for the answer to what it forwarded before it looks at the fault.
            const { operatorMessage = UNREADABLE } = fault as Partial<OperatorError>
            abandonConnection(forwardedAs, operatorMessage)
            throw fault
          }
        },
        async invokeFunction(invocation, inputs, handler) {
          try {
            return await inner.invokeFunction(invocation, inputs, handler)
          } catch (fault) {
            end()
            throw fault
          }
        },
        // Where a request is streamed, that is over when its last byte was sent.
        getResponse: (invocation, result) => inner.getResponse(invocation, result).finally(end),
      }
    },
  }
}

function isHttp({ metadata }: CoreContext): boolean {
  return Object.values(metadata.bindings ?? {}).some(({ type }) => type?.toLowerCase() === 'httptrigger')
}

/**
 * The id that the host forwards the request with: where the client has sent one of its own, the host leaves that, and the
 * library would wait for the invocation's in vain.
 */
function forwardedId({ invocationId, request }: CoreContext): string {
  const text = request.triggerMetadata?.Headers?.json
  if (text == null || !text.toLowerCase().includes(INVOCATION)) return invocationId
  const headers = Object.entries(JSON.parse(text) as Record<string, string>)
  return headers.find(([name]) => name.toLowerCase() === INVOCATION)?.[1] ?? invocationId
}

/** The cloud's host sends ASCII alone. */
function isForwardable({ request }: CoreContext): boolean {
  return /^[\x20-\x7e]*$/.test(request.triggerMetadata?.Headers?.json ?? '')
}

function neverArrived(context: CoreContext, arrivalMs: number): OperatorError {
  const message =
    `The host did not forward the request within ${arrivalMs} ms. It can't forward a header that is not ASCII, nor more ` +
    'than 64 KiB of headers.'
  context.log('warning', 'user', JSON.stringify({ event: 'request never arrived', message }))
  return new OperatorError(message)
}

/**
 * Takes headers that HTTP does not allow out of the host's list, since the library can't make a request with one in it, and
 * says why the request is refused. The host reads headers as UTF-8.
 */
function withoutBadHeaders({ request }: CoreContext): Refusal | undefined {
  const { triggerMetadata } = request
  const text = triggerMetadata?.Headers?.json
  // Nearly all are plain ASCII, and can't be wrong.
  if (triggerMetadata == null || text == null || !/[^\x20-\x7e]|\\/.test(text)) return undefined
  const headers = Object.entries(JSON.parse(text) as Record<string, string>)
  const good = headers.filter(([name, value]) => isAllowed(name, value))
  const [bad] = headers.find(([name, value]) => !isAllowed(name, value)) ?? []
  if (bad === undefined) return undefined
  triggerMetadata.Headers = { json: JSON.stringify(Object.fromEntries(good)) }
  const name = /^[\w.-]{1,64}$/.test(bad) ? `'${bad}'` : 'with a name of other characters'
  return {
    kind: 'refusal',
    code: 'invalid_request',
    status: 400,
    param: bad,
    message: `The header ${name} holds characters that HTTP does not allow in a header. Send printable ASCII alone.`,
  }
}

function isAllowed(name: string, value: string): boolean {
  try {
    new Headers([[name, value]])
    return true
  } catch {
    return false
  }
}

/** `undefined` outside of a worker, in tests. */
function findCore(): Core | undefined {
  try {
    return createRequire(join(process.cwd(), 'index.js'))('@azure/functions-core') as Core
  } catch {
    return undefined
  }
}

// The library registers its model with the app's first function, which is before any of these hooks runs.
const core = findCore()
core?.registerHook('appStart', () => {
  const model = core.getProgrammingModel()
  if (model !== undefined) core.setProgrammingModel(boundedModel(model))
})
