import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { freePort } from '../../support/free-port.ts'
import { ROOT } from '../../support/host.ts'
import type { Entrant } from './entrant.ts'
import { startServer } from './server-process.ts'
import { chatBody, checkAnswer, type Work } from './work.ts'

export const PORTKEY = '@portkey-ai/gateway'

const BENCH = join(ROOT, 'test/bench')
const SERVER = join(BENCH, 'node_modules/@portkey-ai/gateway/build/start-server.js')

/** Installs it by the bench's own lockfile, unless it is there. @returns why it can't be measured; `undefined` where it can */
export function installPortkey(): string | undefined {
  if (existsSync(SERVER)) return undefined
  const args = ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error']
  const { status } = spawnSync('npm', args, { cwd: BENCH, stdio: ['ignore', 'inherit', 'inherit'] })
  return status === 0 && existsSync(SERVER) ? undefined : 'npm ci in test/bench failed'
}

/** Portkey's open-source gateway, which passes a request on to an OpenAI-compatible server. @param model its base URL */
export function portkey(work: Work, model: string, folder: string): Entrant {
  return {
    name: PORTKEY,
    async start(connections) {
      const port = await freePort()
      const { pid, stop } = await startServer({
        script: [SERVER, '--headless', `--port=${port}`],
        settings: { NODE_ENV: 'production' },
        started: /(Ready) for connections/,
        folder,
      })
      const headers = {
        'content-type': 'application/json',
        authorization: 'Bearer none',
        'x-portkey-provider': 'openai',
        'x-portkey-custom-host': model,
      }
      return {
        pid,
        stop,
        load: {
          url: `http://127.0.0.1:${port}/v1/chat/completions`,
          method: 'POST',
          headers: Array.from({ length: connections }, () => headers),
          body: chatBody(work),
        },
        check: (text) => checkAnswer(work, text),
      }
    },
  }
}
