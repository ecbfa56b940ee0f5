/*
 * `npm start`: the Function app on embedded defaults. What the environment or local.settings.json configures is used;
 * what they leave out is supplied: tables by Azurite, a model by simulation.
 */
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { OperatorError, oldBookText, outlinePolicy, type PolicyOutline, routeOf } from '@tollgate/middleware'
import { consumerNotes } from './consumer-notes.ts'
import { demoKey } from './demo-key.ts'
import { faultText } from './fault-text.ts'
import { type AccessKeys, accessKeys } from './host/access-keys.ts'
import { type FunctionHost, hostFunctions } from './host/function-host.ts'
import { isLogged, readHostJson } from './host/host-json.ts'
import { type HostServer, openHostServer } from './host/http-server.ts'
import { applyLocalSettings, type LocalSettings } from './host/local-settings.ts'
import { logWriter } from './log-writer.ts'
import { otherModelsText, realModelText, servedByPolicy } from './model-text.ts'
import { policyAtStart } from './policy-at-start.ts'
import { policyText } from './policy-text.ts'
import { SIMULATED_MODEL, startSimulatedModel } from './simulated-model/server.ts'
import { stopWell } from './stop-well.ts'
import { type OpenedStorage, openStorage } from './storage.ts'
import { type Demo, welcome } from './welcome.ts'
import type { WorkerLog } from './worker/functions-core.ts'

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '../../..')
const DEFAULT_PORT = 7071

try {
  await start(process.env)
} catch (error) {
  console.error(`\n${faultText(error)}\n`)
  process.exit(1)
}

async function start(env: NodeJS.ProcessEnv): Promise<void> {
  const local = applyLocalSettings(ROOT, env)
  env.AZURE_FUNCTIONS_ENVIRONMENT ??= 'Development'
  const { routePrefix, logLevel } = readHostJson(ROOT)
  const write = logWriter()
  const log: WorkerLog = (level, category, message) => {
    if (isLogged(level, logLevel)) write(`[${new Date().toISOString()}] ${level} ${category}: ${message}`)
  }

  // Before anything is started that a wrong one would have to stop.
  const policyFile = { root: ROOT, path: env.TOLLGATE_POLICY || undefined }
  outlinePolicy(policyFile)
  const server = await listen(env, local, log)
  const storage = await openStorage(ROOT, env)
  let host: FunctionHost | undefined
  stopWell(async () => {
    await (host ?? server).close()
    storage.release()
  })
  storage.onLost(() => {
    console.error('\nAzurite has ended, and the tables with it. Run npm start again.\n')
    process.exit(1)
  })
  const { outline, notes: ofPolicy } = await policyAtStart(storage.location, policyFile)
  const model = await supplyModel(env, outline)
  const demo = await supplyDemo(env, storage, outline)
  const ofConsumers = consumerNotes(storage.location, outline.plans)
  const keys = accessKeys(storage.folder)
  host = await hostFunctions({ root: ROOT, server, routePrefix, keys, cors: local.cors, env, log })

  console.log(
    welcome({
      url: server.url,
      tables: storage.text,
      policy: policyText(outline),
      model: model.text,
      isReal: model.isReal,
      functions: functionsOf(host, server.url),
      notes: [...ofPolicy, ...notes(local, host, keys), ...priceNotes(outline), ...(await ofConsumers)],
      demo,
      inMemory: storage.location.kind === 'memory',
    }),
  )
}

function functionsOf({ triggers }: FunctionHost, url: string): string[] {
  return [
    ...triggers.http.map(({ methods, path }) => `${[...methods].join(',')} ${url}/${path}`),
    ...triggers.timers.map(({ name, schedule }) => `${name}, by timer ${schedule}`),
  ]
}

async function listen(env: NodeJS.ProcessEnv, local: LocalSettings, log: WorkerLog): Promise<HostServer> {
  const host = env.HOST || '127.0.0.1'
  const port = env.PORT ? Number(env.PORT) : (local.port ?? DEFAULT_PORT)
  if (!(Number.isInteger(port) && port >= 0 && port <= 65_535))
    throw new OperatorError(`PORT must be a number from 0 to 65535.`)
  try {
    return await openHostServer({ host, port, log })
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'EADDRINUSE') {
      throw new OperatorError(
        `Port ${port} is taken. Stop what listens there, or choose another: PORT=${port + 1} npm start`,
      )
    }
    if (code === 'EADDRNOTAVAIL' || code === 'ENOTFOUND')
      throw new OperatorError(`HOST=${host} is no address of this machine.`)
    if (code === 'EACCES')
      throw new OperatorError(`Port ${port} needs privileges. Choose one above 1023: PORT=${DEFAULT_PORT} npm start`)
    throw error
  }
}

/** Where no model endpoint is configured, a simulated one; what a person is told of it. */
async function supplyModel(env: NodeJS.ProcessEnv, outline: PolicyOutline): Promise<{ text: string; isReal: boolean }> {
  const real = realModelText(env, outline)
  const others = otherModelsText(outline)
  if (real !== undefined) return { text: `${real}${others}`, isReal: true }
  const { url } = await startSimulatedModel()
  env.OPENAI_BASE_URL = url
  env.OPENAI_MODEL_NAME ||= SIMULATED_MODEL
  return {
    text: `SIMULATED, because none is configured: set OPENAI_ENDPOINT, OPENAI_BASE_URL or OPENAI_API_KEY${others}`,
    isReal: false,
  }
}

/** @param env with what was supplied */
async function supplyDemo(
  env: NodeJS.ProcessEnv,
  storage: OpenedStorage,
  outline: PolicyOutline,
): Promise<Demo | undefined> {
  const { plans, defaultPlan } = outline
  const { folder, location } = storage
  if (folder === undefined || location.kind === 'memory') return undefined
  const plan = defaultPlan === undefined ? [...plans.values()][0] : plans.get(defaultPlan)
  if (plan === undefined) return undefined
  const limit = plan.limits
    .filter((each) => each.kind === 'rate')
    .filter(({ measure, model }) => measure === 'requests' && model === undefined)
    .toSorted((a, b) => a.capacity - b.capacity)[0]
  return { key: await demoKey(folder, location, plan.name), chatModel: chatModelOf(env, outline), limit }
}

function chatModelOf(env: NodeJS.ProcessEnv, outline: PolicyOutline): string | undefined {
  const { model } = routeOf(outline, 'chat')
  const ofSettings = env.OPENAI_ENDPOINT || env.OPENAI_BASE_URL || env.OPENAI_API_KEY
  return ofSettings || servedByPolicy(model, outline) !== undefined ? model : undefined
}

/** What `tollgate prices` warns of. */
function priceNotes({ models }: PolicyOutline): string[] {
  const listed = [...models.values()].filter(({ priced }) => priced?.by === 'book')
  const old = oldBookText(
    listed.map(({ name }) => name),
    Date.now(),
  )
  return old === undefined ? [] : [old]
}

function notes(local: LocalSettings, { triggers, adminNeedsKey }: FunctionHost, keys: AccessKeys): string[] {
  const levels = new Set(triggers.http.map(({ authLevel }) => authLevel))
  return [
    ...local.overridden.map((name) => `${name} of local.settings.json is overridden by the environment`),
    ...triggers.other.map(({ name, type }) => `'${name}' (${type}) is not run: the local host has no such trigger`),
    ...(levels.has('function') ? [`functions of authLevel 'function' take the key ${keys.function}`] : []),
    ...(levels.has('admin') || adminNeedsKey
      ? [`/admin and authLevel 'admin' take the master key ${keys.master}`]
      : []),
  ]
}
