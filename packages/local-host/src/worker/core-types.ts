/*
 * The part of the worker's protocol that this host speaks. `@azure/functions-core` has no package to take types from;
 * these follow what `@azure/functions` 4 reads and returns.
 */

export type LogLevel = 'trace' | 'debug' | 'information' | 'warning' | 'error' | 'critical' | 'none'

// biome-ignore lint/suspicious/noExplicitAny: contexts are the library's own classes, passed through untouched
export type HookCallback = (context: any) => unknown

export type UserHandler = (...args: never[]) => unknown

export interface Binding {
  readonly type: string
  readonly direction: string
  readonly [option: string]: unknown
}

export interface FunctionMetadata {
  readonly name: string
  readonly bindings: Readonly<Record<string, Binding>>
}

export interface RpcBody {
  readonly bytes?: Uint8Array
  readonly string?: string
  readonly json?: string
}

/** A trigger's data. */
export type RpcData = RpcBody & { readonly http?: RpcHttp }

/** An HTTP request or response between host and worker. */
export interface RpcHttp {
  readonly url?: string
  readonly method?: string
  readonly headers?: Readonly<Record<string, string>>
  readonly query?: Readonly<Record<string, string>>
  readonly params?: Readonly<Record<string, string>>
  readonly body?: RpcBody | null
  readonly statusCode?: string
  readonly cookies?: readonly RpcCookie[]
}

/** Optional fields come wrapped, so that absence can be told from a default. */
export interface RpcCookie {
  readonly name: string
  readonly value: string
  readonly domain?: { readonly value: string }
  readonly path?: { readonly value: string }
  readonly expires?: { readonly value: { readonly seconds: number } }
  readonly secure?: { readonly value: boolean }
  readonly httpOnly?: { readonly value: boolean }
  /** As the protocol names them: `none` is no attribute. */
  readonly sameSite?: 'none' | 'lax' | 'strict' | 'explicitNone'
  readonly maxAge?: { readonly value: number }
}

export interface CoreInvocationContext {
  readonly invocationId: string
  readonly metadata: FunctionMetadata
  readonly request: {
    readonly triggerMetadata: Record<string, RpcBody>
    readonly inputData: readonly { readonly name: string; readonly data: RpcData }[]
    readonly traceContext?: { readonly traceParent?: string; readonly traceState?: string }
  }
  /** Read by the library, to warn of logs that come after the function has ended. */
  state?: 'preInvocationHooks' | 'postInvocationHooks' | 'invocation'
  log(level: LogLevel, category: string, message: string): void
}

export interface CoreModel {
  getInvocationModel(context: CoreInvocationContext): InvocationModel | Promise<InvocationModel>
  getCapabilities(capabilities: Record<string, string>): Promise<Record<string, string>>
}

export interface InvocationModel {
  getArguments(): Promise<{ context: object; inputs: unknown[] }>
  invokeFunction(context: object, inputs: unknown[], handler: UserHandler): Promise<unknown>
  getResponse(context: object, result: unknown): Promise<{ returnValue?: { http?: RpcHttp } | null }>
}
