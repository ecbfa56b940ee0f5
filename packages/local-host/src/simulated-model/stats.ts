import type { ServerResponse } from 'node:http'

/** What the simulated model was asked since it started, or since this was cleared. */
export interface Stats {
  /** Requests for an answer, all and by model. */
  requests: number
  byModel: Record<string, number>
  /** Sent whole. */
  answered: number
  /** Given up by the client before they were sent whole, or cut on demand. */
  unfinished: number
  /** Under way now. */
  open: number
}

export interface Counted {
  readonly stats: Stats
  count(model: string, response: ServerResponse): void
  clear(): void
}

export function countRequests(): Counted {
  const none = () => ({ requests: 0, byModel: {}, answered: 0, unfinished: 0 })
  const stats: Stats = { ...none(), open: 0 }
  return {
    stats,
    count(model, response) {
      stats.requests += 1
      stats.byModel[model] = (stats.byModel[model] ?? 0) + 1
      stats.open += 1
      response.once('close', () => {
        stats.open -= 1
        stats[response.writableFinished ? 'answered' : 'unfinished'] += 1
      })
    },
    clear: () => Object.assign(stats, none()),
  }
}
