/** What is to be ended, the last begun first. */
export interface Closing {
  /** Waits until something has begun, and ends it by a call when all is closed; at once where it is closed already. */
  add<Started>(starting: Promise<Started>, end: (started: Started) => unknown): Promise<Started>
  close(): Promise<void>
}

export function closing(): Closing {
  const ends: (() => unknown)[] = []
  let closed = false
  return {
    async add(starting, end) {
      const started = await starting
      if (closed) await end(started)
      else ends.push(() => end(started))
      return started
    },
    async close() {
      closed = true
      for (const end of ends.splice(0).reverse()) await end()
    },
  }
}
