import { whenNpmIsGone } from './npm-watch.ts'

/** Above the 5 s that the host gives the worker to end, with what the answers then need on their way. */
const END_MS = 7_000

/**
 * On a signal, or when npm has died: runs `end`, which may take 7 seconds, and exits. A second signal exits at once.
 */
export function stopWell(end: () => Promise<void>): void {
  let stopping = false
  const stop = async () => {
    if (stopping) process.exit(1)
    stopping = true
    setTimeout(() => process.exit(1), END_MS).unref()
    const failed = await end().then(
      () => false,
      (error: unknown) => {
        console.error(error)
        return true
      },
    )
    process.exit(failed ? 1 : 0)
  }
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, stop)
  whenNpmIsGone(() => {
    if (!stopping) void stop()
  })
}
