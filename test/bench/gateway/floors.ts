import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Entrant } from './entrant.ts'
import { type ServerCommand, startServer } from './server-process.ts'
import { chatBody, checkAnswer, generateBody, HIT, type Work } from './work.ts'

export const BARE_HTTP = 'node:http'
export const BARE_PROXY = 'undici proxy'
export const TRIVIAL = 'a trivial function'

const STARTED = /answers on (\S+)/

const SERVERS = fileURLToPath(new URL('servers/', import.meta.url))

/** A server of Node's that reads the request and answers with a constant. */
export function bareHttp(folder: string): Entrant {
  const command = { script: [join(SERVERS, 'bare-http.ts')], started: STARTED, folder } as const
  return floor(BARE_HTTP, command, { path: '/api/generate', body: generateBody(HIT), work: HIT })
}

/** A proxy that reads the request, passes it on by undici, and passes the answer on as it comes. @param model its base URL */
export function bareProxy(work: Work, model: string, folder: string): Entrant {
  const settings = { UPSTREAM: model }
  const command = { script: [join(SERVERS, 'bare-proxy.ts')], settings, started: STARTED, folder } as const
  return floor(BARE_PROXY, command, { path: '/v1/chat/completions', body: chatBody(work), work })
}

/** A function that reads the request and answers with a constant. @param command a host that serves it */
export function trivialFunction(command: ServerCommand): Entrant {
  return floor(TRIVIAL, command, { path: '/api/generate', body: generateBody(HIT), work: HIT })
}

interface Asked {
  readonly path: string
  readonly body: string
  readonly work: Work
}

function floor(name: string, command: ServerCommand, { path, body, work }: Asked): Entrant {
  return {
    name,
    async start(connections) {
      const { at, pid, stop } = await startServer(command)
      const headers = Array.from({ length: connections }, () => ({ 'content-type': 'application/json' }))
      return {
        pid,
        stop,
        load: { url: `${at}${path}`, method: 'POST', headers, body },
        check: (text) => checkAnswer(work, text),
      }
    },
  }
}
