import { existsSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { type FunctionsCore, provideFunctionsCore, type RegisteredFunction, type WorkerLog } from './functions-core.ts'

export interface FunctionApp {
  readonly functions: ReadonlyMap<string, RegisteredFunction>
  readonly core: FunctionsCore
  /** What the app asked of the worker. `HttpUri` in it means that it wants its HTTP streamed. */
  readonly capabilities: Readonly<Record<string, string>>
  /** Shared by all hooks, as in the worker. */
  readonly appHookData: Record<string, unknown>
  /** Runs the `appTerminate` hooks, at the end. */
  terminate(): Promise<void>
}

/** The app can't be loaded; the message says what is missing. */
export class AppLoadError extends Error {
  override readonly name = 'AppLoadError'
}

/**
 * Loads the entry point that `package.json#main` names, as the Functions worker does: load, `appStart` hooks,
 * capabilities, in that order.
 *
 * @throws AppLoadError; whatever the entry point or an `appStart` hook throws.
 */
export async function loadApp(root: string, log: WorkerLog): Promise<FunctionApp> {
  const core = provideFunctionsCore(log)
  const manifest = join(root, 'package.json')
  const { main } = JSON.parse(readFileSync(manifest, 'utf8')) as { main?: string }
  if (main === undefined || !existsSync(join(root, main))) {
    throw new AppLoadError(
      `${manifest} names ${main ?? 'nothing'} as its main file, which does not exist. Run npm run build.`,
    )
  }
  createRequire(manifest)(join(root, main))

  const appHookData = {}
  const hookContext = () => ({ hookData: {}, appHookData, functionAppDirectory: root })
  const started = hookContext()
  for (const hook of core.hooks('appStart')) await hook(started)
  const model = core.model()
  if (model === undefined) throw new AppLoadError(`${main} registered no function.`)
  const capabilities = await model.getCapabilities({})
  return {
    functions: core.functions,
    core,
    capabilities,
    appHookData,
    async terminate() {
      const ended = hookContext()
      for (const hook of core.hooks('appTerminate')) await hook(ended)
    },
  }
}
