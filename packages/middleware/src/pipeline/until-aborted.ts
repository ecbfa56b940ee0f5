/**
 * Waits for work until its caller gives up: a client may not look at the signal once its command is on the way.
 *
 * @param onAbort called when the caller gave up before the work was done
 * @throws the signal's reason; whatever the work throws before.
 */
export async function untilAborted<T>(work: Promise<T>, signal: AbortSignal, onAbort?: () => void): Promise<T> {
  const { promise: aborted, reject } = Promise.withResolvers<never>()
  const giveUp = () => {
    reject(signal.reason)
    onAbort?.()
  }
  signal.addEventListener('abort', giveUp)
  if (signal.aborted) giveUp()
  try {
    return await Promise.race([aborted, work])
  } finally {
    signal.removeEventListener('abort', giveUp)
  }
}
