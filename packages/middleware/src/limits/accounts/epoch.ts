import type { Epoch } from '../../policy/index.ts'

const LENGTH_MS = { minute: 60_000, hour: 3_600_000, day: 86_400_000 } as const

/** When the window that holds this moment began, and when it ends; milliseconds since 1970, UTC. */
export function epochAt(per: Epoch, now: number): { readonly start: number; readonly end: number } {
  if (per === 'month') {
    const date = new Date(now)
    const [year, month] = [date.getUTCFullYear(), date.getUTCMonth()]
    return { start: Date.UTC(year, month, 1), end: Date.UTC(year, month + 1, 1) }
  }
  const start = Math.floor(now / LENGTH_MS[per]) * LENGTH_MS[per]
  return { start, end: start + LENGTH_MS[per] }
}
