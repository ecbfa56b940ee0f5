import { type ChildProcessWithoutNullStreams, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { findBicep } from '../../packages/workshop/src/bicep.ts'
import { cleanEnv, ROOT } from '../support/host.ts'

const LIMIT_MS = 60_000
/** What infra/main.bicepparam has no default for. */
const ENV = {
  ...cleanEnv({ TOLLGATE_MODEL: 'a-model', TOLLGATE_MODEL_VERSION: '2026-01-01' }),
  // A run of seconds doesn't earn back what .NET spends on measuring itself.
  DOTNET_TieredPGO: '0',
}

const found = findBicep()
const path = 'path' in found ? found.path : undefined

/** Why nothing is compiled, or nothing. */
export const NO_COMPILER = 'reason' in found ? found.reason : undefined

export interface Ran {
  readonly status: number | null
  /** Each line that the compiler had to say, which is a warning or an error. */
  readonly said: readonly string[]
}

/** One run of the compiler, from the repository's root. */
export function bicep(...args: readonly string[]): Ran {
  if (path === undefined) throw new Error(NO_COMPILER)
  const { status, stderr, stdout } = spawnSync(path, args, {
    cwd: ROOT,
    env: ENV,
    encoding: 'utf8',
    timeout: LIMIT_MS,
    maxBuffer: 64 * 1024 * 1024,
  })
  return { status, said: `${stderr}${stdout}`.split('\n').filter((line) => line.trim() !== '') }
}

export interface Compiled {
  readonly success: boolean
  readonly diagnostics: readonly { readonly level: string; readonly code: string; readonly message: string }[]
  /** The ARM template. */
  readonly contents: string | null
}

/** What the compiler says that a parameter file would make in Azure. Properties known only there are expressions. */
export interface Snapshot {
  readonly predictedResources: readonly Resource[]
  readonly diagnostics: readonly unknown[]
  readonly outputs: Readonly<Record<string, unknown>>
}

export interface Resource {
  readonly id: string
  readonly type: string
  readonly name: string
  readonly condition?: string
  // biome-ignore lint/suspicious/noExplicitAny: what ARM takes, which has no type here
  readonly properties?: any
}

/** A compiler that stays, since most of a run is its start. */
export interface Compiler {
  compile(path: string): Promise<Compiled>
  snapshot(path: string, place: Place): Promise<Snapshot>
  stop(): Promise<void>
}

export interface Place {
  readonly subscriptionId: string
  readonly tenantId: string
  readonly resourceGroup: string
  readonly location: string
  readonly deploymentName: string
}

export function startCompiler(): Compiler {
  if (path === undefined) throw new Error(NO_COMPILER)
  const child = spawn(path, ['jsonrpc', '--stdio'], { cwd: ROOT, env: ENV })
  const call = caller(child)
  return {
    compile: (path) => call('bicep/compile', { path }) as Promise<Compiled>,
    async snapshot(path, metadata) {
      const { snapshot } = (await call('bicep/getSnapshot', { path, metadata })) as { readonly snapshot: string }
      return JSON.parse(snapshot)
    },
    async stop() {
      if (child.exitCode !== null || child.signalCode !== null) return
      const exited = once(child, 'exit')
      child.stdin.end()
      await exited
    },
  }
}

/** JSON-RPC 2.0, each message after a header with its length. */
function caller(child: ChildProcessWithoutNullStreams) {
  const waiting = new Map<number, PromiseWithResolvers<unknown>>()
  let unread: Buffer = Buffer.alloc(0)
  let stderr = ''
  let id = 0
  child.stderr.setEncoding('utf8').on('data', (text) => {
    stderr += text
  })
  child.once('exit', (code) => {
    for (const { reject } of waiting.values()) reject(new Error(`bicep ended with ${code}: ${stderr}`))
  })
  child.stdout.on('data', (bytes: Buffer) => {
    unread = Buffer.concat([unread, bytes])
    for (let message = takeMessage(); message !== undefined; message = takeMessage()) {
      const answered = waiting.get(message.id)
      waiting.delete(message.id)
      if (message.error === undefined) answered?.resolve(message.result)
      else answered?.reject(new Error(message.error.message))
    }
  })

  function takeMessage() {
    const head = unread.indexOf('\r\n\r\n')
    if (head === -1) return undefined
    const length = Number(/Content-Length: (\d+)/i.exec(unread.toString('latin1', 0, head))?.[1])
    const end = head + 4 + length
    if (unread.length < end) return undefined
    const message = JSON.parse(unread.toString('utf8', head + 4, end))
    unread = unread.subarray(end)
    return message
  }

  return (method: string, params: unknown): Promise<unknown> => {
    id += 1
    const answered = Promise.withResolvers<unknown>()
    waiting.set(id, answered)
    const body = JSON.stringify({ jsonrpc: '2.0', id, method, params })
    child.stdin.write(`Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`)
    return answered.promise
  }
}
