import { randomUUID } from 'node:crypto'
import type { CoreInvocationContext, RpcHttp } from './core-types.ts'
import type { RegisteredFunction, WorkerLog } from './functions-core.ts'
import type { FunctionApp } from './load-app.ts'

/**
 * Runs one HTTP-triggered function in the worker's order: arguments, `preInvocation` hooks, the function,
 * `postInvocation` hooks, response.
 *
 * @throws what the function threw, as the worker reports it to the host.
 */
export async function invokeHttp(
  app: FunctionApp,
  { metadata, handler }: RegisteredFunction,
  http: RpcHttp,
  log: WorkerLog,
): Promise<RpcHttp> {
  const model = app.core.model()
  const [trigger] = Object.entries(metadata.bindings).find(([, { type }]) => type === 'httpTrigger') ?? []
  if (model === undefined || trigger === undefined) throw new Error(`${metadata.name} has no HTTP trigger`)

  const context: CoreInvocationContext = {
    invocationId: randomUUID(),
    metadata,
    request: { triggerMetadata: {}, inputData: [{ name: trigger, data: { http } }], traceContext: traceContext(http) },
    log: (level, category, message) =>
      log(level, category === 'user' ? `Function.${metadata.name}` : category, message),
  }
  const invocation = model.getInvocationModel(context)
  const { context: invocationContext, inputs } = await invocation.getArguments()

  const hookData = {}
  const before = { hookData, appHookData: {}, invocationContext, inputs, functionCallback: handler }
  context.state = 'preInvocationHooks'
  for (const hook of app.core.hooks('preInvocation')) await hook(before)

  const after = {
    hookData,
    appHookData: {},
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
  return returnValue?.http ?? { statusCode: '200' }
}

function traceContext({ headers = {} }: RpcHttp) {
  const { traceparent, tracestate } = headers
  return { ...(traceparent ? { traceParent: traceparent } : {}), ...(tracestate ? { traceState: tracestate } : {}) }
}
