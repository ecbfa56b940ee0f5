import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { cleanEnv, ROOT } from '../support/host.ts'
import type { Asking, Session } from './client.ts'

/** The version of `openai` that `python3` has; where it has none, why no test can run. */
export function pythonClient(): { readonly version: string } | { readonly missing: string } {
  const { status, stdout } = spawnSync('python3', ['-c', 'import openai; print(openai.__version__)'], {
    encoding: 'utf8',
    env: cleanEnv({}),
  })
  return status === 0 ? { version: stdout.trim() } : { missing: 'python3 has no package openai' }
}

/** Which of Python's clients, and where. */
export interface PythonClient {
  readonly azure: boolean
  readonly responses: boolean
  readonly origin: string
  readonly key: string
}

interface Told {
  readonly number: number
  readonly piece?: string
  readonly value?: unknown
  readonly error?: { readonly message: string; readonly status?: number; readonly code?: string }
}

/** One process of Python, whose sessions are as many as there are tests. */
export class Python {
  readonly #process: ChildProcess
  readonly #waiting = new Map<number, (told: Told) => void>()
  #commands = 0

  constructor() {
    this.#process = spawn('python3', [join(ROOT, 'test/clients/python-client.py')], {
      env: cleanEnv({}),
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    if (this.#process.stdout === null) throw new Error('python3 has no output')
    createInterface(this.#process.stdout).on('line', (line) => {
      const told = JSON.parse(line) as Told
      this.#waiting.get(told.number)?.(told)
    })
  }

  session(client: PythonClient): Session {
    const run = (what: string, given: object, { model, signal }: Asking, onPiece?: (text: string) => void) =>
      this.#run({ ...client, what, model, ...given }, signal, onPiece)
    return {
      ask: async (prompt, options) => (await run('ask', { prompt }, options)) as string,
      stream: (prompt, options) => pieces((onPiece) => run('stream', { prompt }, options, onPiece)),
      async callTool(prompt, { tool, streamed, ...options }) {
        const { answer, calls } = (await run('callTool', { prompt, streamed }, options)) as {
          readonly answer: string
          readonly calls: readonly { readonly place: string }[]
        }
        for (const call of calls) tool(call)
        return answer
      },
      parse: (prompt, options) => run('parse', { prompt }, options),
      embed: async (inputs, options) => (await run('embed', { inputs }, options)) as number[][],
    }
  }

  #run(command: object, signal: AbortSignal | undefined, onPiece: (text: string) => void = () => {}): Promise<unknown> {
    this.#commands += 1
    const number = this.#commands
    const { promise, resolve, reject } = Promise.withResolvers<unknown>()
    this.#waiting.set(number, ({ piece, value, error }) => {
      if (piece !== undefined) return onPiece(piece)
      this.#waiting.delete(number)
      if (error === undefined) resolve(value)
      else reject(Object.assign(new Error(error.message), error))
    })
    this.#send({ number, ...command })
    signal?.addEventListener('abort', () => this.#send({ number, what: 'cancel' }), { once: true })
    return promise
  }

  #send(command: object): void {
    this.#process.stdin?.write(`${JSON.stringify(command)}\n`)
  }

  async stop(): Promise<void> {
    const gone = once(this.#process, 'exit')
    this.#process.kill()
    await gone
  }
}

/** What is told piece by piece, until it ends. @throws what ends it */
async function* pieces(run: (onPiece: (text: string) => void) => Promise<unknown>): AsyncGenerator<string> {
  const told: string[] = []
  let more = Promise.withResolvers<void>()
  const ended = run((text) => {
    told.push(text)
    more.resolve()
  }).then(() => undefined)
  ended.catch(() => {})
  for (let isOver = false; !isOver; ) {
    isOver = await Promise.race([
      more.promise.then(() => false),
      ended.then(
        () => true,
        () => true,
      ),
    ])
    more = Promise.withResolvers<void>()
    yield* told.splice(0)
  }
  await ended
}
