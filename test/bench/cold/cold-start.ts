import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { request } from 'node:http'
import { cleanEnv } from '../../support/host.ts'

/** An app that is started again and again. */
export interface App {
  readonly name: string
  readonly settings: Record<string, string>
  readonly key: string
  /** What it prints when it is up: its first group is the URL. Default: what the host prints. */
  readonly served?: RegExp
  /** Before each start, and not measured. */
  readonly prepare?: () => void
}

/** Milliseconds since the process was spawned. */
export interface ColdStart {
  /** Until all functions were registered. */
  readonly loaded: number
  /** Until the first 200 had come, whole. */
  readonly answered: number
}

const MOST_MS = 30_000
const SERVED = /serves on (\S+)/

/**
 * @param host a file that Node runs
 * @throws with what the host said, where it does not start, or its first answer is no 200.
 */
export async function coldStart(
  host: string,
  { name, settings, key, served = SERVED, prepare }: App,
): Promise<ColdStart> {
  prepare?.()
  const began = performance.now()
  const child = spawn(process.execPath, [host], { env: cleanEnv(settings), stdio: ['ignore', 'pipe', 'inherit'] })
  const gone = once(child, 'exit')
  const tooLate = setTimeout(() => child.kill('SIGKILL'), MOST_MS)
  try {
    const url = await servedAt(child, served)
    const loaded = performance.now() - began
    const { status, said } = await ask(url, key)
    const answered = performance.now() - began
    if (status !== 200) throw new Error(`${name}: the first answer was ${status} ${said}`)
    return { loaded, answered }
  } finally {
    // Not killed: a compile cache is written when the process ends.
    child.kill('SIGTERM')
    await gone
    clearTimeout(tooLate)
  }
}

/** As soon as the host says it: this must not wait for a turn of looking. */
function servedAt({ stdout }: ChildProcess, served: RegExp): Promise<string> {
  return new Promise((resolve, reject) => {
    let output = ''
    stdout?.setEncoding('utf8').on('data', (text: string) => {
      output += text
      const url = served.exec(output)?.[1]
      if (url !== undefined) resolve(url)
    })
    stdout?.once('end', () => reject(new Error(`The host did not start:\n${output}`)))
  })
}

async function ask(url: string, key: string): Promise<{ readonly status: number; readonly said: string }> {
  const body = JSON.stringify({ prompt: `What is a tollgate? ${crypto.randomUUID()}` })
  const sent = request(`${url}/api/generate`, {
    method: 'POST',
    agent: false,
    headers: { 'x-api-key': key, 'content-length': Buffer.byteLength(body) },
  })
  sent.end(body)
  const [response] = await once(sent, 'response')
  let said = ''
  for await (const piece of response) said += piece
  return { status: response.statusCode, said }
}
