import Module from 'node:module'
import type { CoreModel, FunctionMetadata, HookCallback, LogLevel, UserHandler } from './core-types.ts'

/** What the app has registered with the worker. */
export interface FunctionsCore {
  readonly functions: ReadonlyMap<string, RegisteredFunction>
  readonly hooks: (name: string) => readonly HookCallback[]
  /** `undefined` when nothing was registered: the entry point is missing, or threw. */
  readonly model: () => CoreModel | undefined
}

export interface RegisteredFunction {
  readonly metadata: FunctionMetadata
  readonly handler: UserHandler
}

/** @param invocationId of the invocation that wrote the line; `undefined` for the worker's own, and the host's. */
export type WorkerLog = (level: LogLevel, category: string, message: string, invocationId?: string) => void

const MODULE = '@azure/functions-core'
const SPECIFIER = 'tollgate:functions-core'
const SLOT = Symbol.for(SPECIFIER)
/** What the library is told; it checks the host's version for streaming. */
const WORKER_VERSION = '3.12.0'
const HOST_VERSION = '4.1040.0'

/**
 * Serves the virtual module `@azure/functions-core`, which in the cloud the Functions worker provides and through which
 * `@azure/functions` registers all that an app defines. For one app in one process.
 */
export function provideFunctionsCore(log: WorkerLog): FunctionsCore {
  const functions = new Map<string, RegisteredFunction>()
  const hooks = new Map<string, HookCallback[]>()
  let model: CoreModel | undefined

  const core = {
    version: WORKER_VERSION,
    hostVersion: HOST_VERSION,
    Disposable,
    // A user's line belongs to an invocation: the host ignores one that names none.
    log: (level: LogLevel, category: string, message: string) => {
      if (category === 'system') log(level, category, message)
    },
    setProgrammingModel: (given: CoreModel) => {
      model = given
    },
    getProgrammingModel: () => model,
    registerFunction: (metadata: FunctionMetadata, handler: UserHandler) => {
      functions.set(metadata.name, { metadata, handler })
      return new Disposable(() => functions.delete(metadata.name))
    },
    registerHook: (name: string, callback: HookCallback) => {
      const callbacks = hooks.get(name) ?? []
      hooks.set(name, [...callbacks, callback])
      return new Disposable(() =>
        hooks.set(
          name,
          (hooks.get(name) ?? []).filter((other) => other !== callback),
        ),
      )
    },
  }

  serve(core)
  return { functions, hooks: (name) => hooks.get(name) ?? [], model: () => model }
}

/** Node has its hooks since 22.15; before it we patch `require`, as the worker does. */
function serve(core: object): void {
  if (typeof Module.registerHooks !== 'function') {
    Module.prototype.require = new Proxy(Module.prototype.require, {
      apply: (load, module, [specifier]) => (specifier === MODULE ? core : Reflect.apply(load, module, [specifier])),
    })
    return
  }
  Object.assign(globalThis, { [SLOT]: core })
  Module.registerHooks({
    resolve: (specifier, context, next) =>
      specifier === MODULE ? { url: SPECIFIER, format: 'commonjs', shortCircuit: true } : next(specifier, context),
    load: (url, context, next) =>
      url === SPECIFIER
        ? { format: 'commonjs', source: `module.exports = globalThis[Symbol.for('${SPECIFIER}')]`, shortCircuit: true }
        : next(url, context),
  })
}

class Disposable {
  readonly #onDispose: () => unknown
  constructor(onDispose: () => unknown) {
    this.#onDispose = onDispose
  }
  dispose(): void {
    this.#onDispose()
  }
}
