import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { freePort } from '../../support/free-port.ts'

const TEMPLATE = fileURLToPath(new URL('nginx.conf', import.meta.url))

/** Where its modules are; `undefined` where there is no NGINX with Lua on the PATH. */
const modules = modulesPath()

/** Why NGINX can't be measured here; `undefined` where it can. */
export const noNginx = modules === undefined ? 'there is no NGINX with its Lua module on this machine' : undefined

export interface Nginx {
  readonly url: string
  /** The process that answers. */
  readonly worker: number
  close(): Promise<void>
}

export interface NginxOptions {
  /** Who has which key. */
  readonly keys: readonly { readonly key: string; readonly consumer: string }[]
  /** The model's server, as `host:port`. */
  readonly upstream: string
}

/** NGINX as `nginx.conf` has it, with one worker, on a free port, in a folder that goes with it. */
export async function startNginx(options: NginxOptions): Promise<Nginx> {
  const folder = mkdtempSync(join(tmpdir(), 'tollgate-nginx-'))
  let fault = ''
  // Another process may have taken the port meanwhile.
  for (let tries = 0; tries < 5; tries += 1) {
    const port = await freePort()
    const started = await run(folder, configuration(folder, port, options))
    if (typeof started === 'string') {
      fault = started
      continue
    }
    return {
      url: `http://127.0.0.1:${port}`,
      worker: started.worker,
      async close() {
        await started.stop()
        rmSync(folder, { recursive: true, force: true })
      },
    }
  }
  rmSync(folder, { recursive: true, force: true })
  throw new Error(`NGINX does not start:\n${fault}`)
}

function configuration(folder: string, port: number, { keys, upstream }: NginxOptions): string {
  const words: Readonly<Record<string, string>> = {
    folder,
    port: String(port),
    upstream,
    modules: modules ?? '',
    consumers: keys.map(({ key, consumer }) => `"${key}" "${consumer}";`).join('\n    '),
  }
  return readFileSync(TEMPLATE, 'utf8').replace(/\{\{(\w+)\}\}/g, (_, word: string) => words[word] ?? '')
}

/** @returns what it said, if it did not start. */
async function run(folder: string, text: string): Promise<{ readonly worker: number; stop(): Promise<void> } | string> {
  const file = join(folder, 'nginx.conf')
  writeFileSync(file, text)
  // Started by root, its workers would be nobody's, who may not write here.
  const asRoot = process.getuid?.() === 0 ? ['-g', 'user root;'] : []
  const child = spawn('nginx', ['-p', folder, '-c', file, ...asRoot], { stdio: ['ignore', 'ignore', 'pipe'] })
  const exited = once(child, 'exit')
  let said = ''
  const worker = new Promise<number>((resolve) => {
    child.stderr.setEncoding('utf8').on('data', (part: string) => {
      // What it says later is of no use here.
      if (said.length < 64 * 1024) said += part
      const pid = /start worker process (\d+)/.exec(said)?.[1]
      if (pid !== undefined) resolve(Number(pid))
    })
  })
  const up = await Promise.race([worker, exited.then(() => undefined)])
  if (up === undefined) return said
  return {
    worker: up,
    async stop() {
      child.kill('SIGTERM')
      await exited
    },
  }
}

function modulesPath(): string | undefined {
  const { status, stderr } = spawnSync('nginx', ['-V'], { encoding: 'utf8' })
  const path = status === 0 ? /--modules-path=(\S+)/.exec(stderr)?.[1] : undefined
  return path !== undefined && existsSync(join(path, 'ngx_http_lua_module.so')) ? path : undefined
}
