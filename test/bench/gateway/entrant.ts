import type { Load } from '../load.ts'

const ANSWER_MS = 10_000

/** Something that answers, and is started anew for each measurement. */
export interface Entrant {
  readonly name: string
  /** @param connections how many will ask at most */
  start(connections: number): Promise<Started>
}

export interface Started {
  /** Of the process that is measured. */
  readonly pid: number
  /** A header object for each connection. */
  readonly load: Omit<Load, 'seconds'>
  /** Before the load, once for each connection: what the load then finds. */
  readonly fill?: Omit<Load, 'seconds'>
  /** @throws when an answer is not what it has to be; `text` is a whole one. */
  check(text: string): void
  /** @throws when something is missing that it had to do for so many requests. */
  verify?(requests: number): void
  stop(): Promise<void>
}

/** @throws when it does not start, or does not answer as it has to. */
export async function tryOut(entrant: Entrant): Promise<void> {
  const started = await entrant.start(1)
  try {
    await checkOne(started)
  } finally {
    await started.stop()
  }
}

/** @throws when one request is not answered as it has to be. */
export async function checkOne({ load: { url, method, headers, body }, check }: Started): Promise<void> {
  const asked = { method, headers: headers[0] ?? {}, body: body.replace('{n}', crypto.randomUUID()) }
  const response = await fetch(url, { ...asked, signal: AbortSignal.timeout(ANSWER_MS) })
  const text = await response.text()
  if (response.status !== 200) throw new Error(`answers ${response.status} ${text}`)
  check(text)
}
