/** When what was on its way has arrived, or never will, in milliseconds. */
const PAUSE_MS = 500
const TIMEOUT_MS = 2_000

/**
 * Tidies up behind a call of which nobody knows whether it was carried out: a little later, in the background, and once.
 * What comes of it concerns nobody; what it would have removed goes by itself in the end.
 */
export function afterwards(work: (signal: AbortSignal) => Promise<unknown>): void {
  setTimeout(() => work(AbortSignal.timeout(TIMEOUT_MS)).catch(() => {}), PAUSE_MS).unref()
}
