import { newConsumers } from '../cache/gateway.ts'
import type { Load } from '../load.ts'
import { PLAN } from './checkout.ts'
import type { Entrant } from './entrant.ts'
import { type ServerCommand, startServer } from './server-process.ts'
import { chatBody, checkAnswer, generateBody, type Work } from './work.ts'

export interface GatewayEntrant {
  readonly name: string
  readonly command: ServerCommand
  /** The connection string of the tables that it reads keys from. */
  readonly tables: string
  readonly work: Work
  /** Where it is asked: in its own words by default. */
  readonly surface?: Surface
  /** What each answer's `Cache-Status` must hold; `hit`: each connection asks once before, so that no hit is a first miss. */
  readonly holds: 'hit' | 'fwd=miss; stored' | 'bypass'
}

/** A surface of the gateway: its own, or that of OpenAI's clients. */
export type Surface = 'generate' | 'chat completions'

const SURFACES: Readonly<Record<Surface, { readonly path: string; readonly body: (work: Work) => string }>> = {
  generate: { path: '/api/generate', body: generateBody },
  'chat completions': { path: '/api/v1/chat/completions', body: (work) => chatBody(work, 'default') },
}

let starts = 0

/** A gateway, each connection with a consumer of its own that no process before it has known. */
export function gateway({ name, command, tables, work, surface = 'generate', holds }: GatewayEntrant): Entrant {
  const { path, body } = SURFACES[surface]
  return {
    name,
    async start(connections) {
      starts += 1
      const named = Array.from({ length: connections }, (_, index) => ({
        consumer: `bench-${starts}-${index}`,
        plan: PLAN,
      }))
      const keys = await newConsumers(tables, named)
      const { at, pid, output, stop } = await startServer(command)
      const url = `${at}${path}`
      const headers = keys.map(({ key }) => ({ 'x-api-key': key, 'content-type': 'application/json' }))
      const load: Omit<Load, 'seconds'> = { url, method: 'POST', headers, body: body(work) }
      return {
        pid,
        stop,
        load: { ...load, expect: { header: 'cache-status', holds } },
        ...(holds === 'hit' ? { fill: load } : {}),
        check: (text) => checkAnswer(work, text),
        verify(requests) {
          const lines = output().match(/"event":"request"[^\n]*"consumer":"bench-/g)?.length ?? 0
          if (lines < requests) throw new Error(`wrote ${lines} lines of log for ${requests} requests`)
        },
      }
    },
  }
}
