import { app } from '@azure/functions'
import { httpHandler } from '@tollgate/azure-functions'
import {
  CHECK_MS,
  type Entry,
  type Gateway,
  type HttpResponse,
  jsonResponse,
  type Readiness,
  readiness,
} from '@tollgate/middleware'

const MAX_AGE_MS = 10_000

/**
 * `GET /api/health`: the process answers. `GET /api/health?ready`: and so do the tables, the limits' counters and the
 * model, and the settings and the policy can be read. Open to anyone, so it tells the checks' names and no more; the log has the reasons.
 */
export function registerHealth(gateway: () => Gateway): void {
  const ready = readiness({
    checks: [
      { name: 'policy', run: async (signal) => gateway().checks.policy(signal) },
      { name: 'tables', run: async (signal) => gateway().checks.tables(signal) },
      { name: 'limits', run: async (signal) => gateway().checks.limits(signal) },
      { name: 'model', run: async (signal) => gateway().checks.model(signal) },
    ],
    deadlineMs: CHECK_MS,
    maxAgeMs: MAX_AGE_MS,
    now: () => performance.now(),
  })
  const entry: Entry = async (request, sink) => {
    if (!request.url.searchParams.has('ready')) return answer(200, { status: 'live' })
    const readiness = await ready((check, fault) => sink('error', { event: 'not ready', check, ...fault }))
    return readyAnswer(readiness)
  }
  app.http('health', {
    methods: ['GET', 'HEAD'],
    authLevel: 'anonymous',
    route: 'health',
    handler: httpHandler(entry),
  })
}

function readyAnswer({ ready, checks }: Readiness): HttpResponse {
  return answer(ready ? 200 : 503, { status: ready ? 'ready' : 'not ready', checks })
}

function answer(status: number, body: object): HttpResponse {
  return jsonResponse(status, body, { 'cache-control': 'no-store' })
}
