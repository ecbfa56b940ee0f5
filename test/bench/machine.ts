import { cpus, release, totalmem, type } from 'node:os'

/** What the figures were measured on. */
export function machine(): string {
  const [cpu] = cpus()
  const memory = Math.round(totalmem() / 2 ** 30)
  return `${cpus().length} × ${cpu?.model.trim() ?? 'unknown processor'}, ${memory} GiB, ${type()} ${release().split('-')[0]}, Node ${process.versions.node}`
}
