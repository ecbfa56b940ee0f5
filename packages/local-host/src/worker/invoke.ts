import { randomUUID } from 'node:crypto'
import type { CoreInvocationContext, CoreModel, RpcBody, RpcData, RpcHttp, UserHandler } from './core-types.ts'
import type { RegisteredFunction, WorkerLog } from './functions-core.ts'
import type { FunctionApp } from './load-app.ts'

/** What the host hands to the worker for one invocation. */
export interface Trigger {
  readonly invocationId?: string
  readonly data: RpcData
  readonly metadata?: Readonly<Record<string, RpcBody>>
  readonly traceContext?: { readonly traceParent?: string; readonly traceState?: string }
}

export interface Invoked {
  /** What the function returned. */
  readonly result: unknown
  /** The answer to an HTTP request, where it was not sent by the library itself. */
  readonly http: RpcHttp | undefined
}

/**
 * Runs one function in the worker's order: arguments, `preInvocation` hooks, the function, `postInvocation` hooks,
 * response.
 *
 * @throws what the function threw, as the worker reports it to the host.
 */
export async function invoke(
  app: FunctionApp,
  { metadata, handler }: RegisteredFunction,
  { invocationId = randomUUID(), data, metadata: triggerMetadata = {}, traceContext }: Trigger,
  log: WorkerLog,
): Promise<Invoked> {
  const model = app.core.model()
  const [trigger] = Object.entries(metadata.bindings).find(([, { type }]) => type.endsWith('Trigger')) ?? []
  if (model === undefined || trigger === undefined) throw new Error(`${metadata.name} has no trigger`)

  /** Until the host has its response. */
  let isExecuting = true
  const context: CoreInvocationContext = {
    invocationId,
    metadata,
    request: {
      triggerMetadata: { ...triggerMetadata },
      inputData: [{ name: trigger, data }],
      ...(traceContext ? { traceContext } : {}),
    },
    log(level, category, message) {
      if (category !== 'user') log(level, category, message, invocationId)
      // The host looks for the invocation among those that execute, and writes nothing of a line of any other.
      else if (isExecuting) log(level, `Function.${metadata.name}`, message, invocationId)
    },
  }
  try {
    return await run(app, model, context, handler)
  } finally {
    isExecuting = false
  }
}

async function run(
  app: FunctionApp,
  model: CoreModel,
  context: CoreInvocationContext,
  handler: UserHandler,
): Promise<Invoked> {
  const invocation = await model.getInvocationModel(context)
  const { context: invocationContext, inputs } = await invocation.getArguments()

  const hookData = {}
  const before = { hookData, appHookData: app.appHookData, invocationContext, inputs, functionCallback: handler }
  context.state = 'preInvocationHooks'
  for (const hook of app.core.hooks('preInvocation')) await hook(before)

  const after = {
    hookData,
    appHookData: app.appHookData,
    invocationContext,
    inputs,
    result: undefined as unknown,
    error: undefined as unknown,
  }
  context.state = 'invocation'
  try {
    after.result = await invocation.invokeFunction(invocationContext, before.inputs, before.functionCallback)
  } catch (error) {
    after.error = error
  }
  context.state = 'postInvocationHooks'
  for (const hook of app.core.hooks('postInvocation')) await hook(after)
  if (after.error !== undefined) throw after.error

  const { returnValue } = await invocation.getResponse(invocationContext, after.result)
  return { result: after.result, http: returnValue?.http }
}
