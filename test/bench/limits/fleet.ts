import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { RateLimit } from '@tollgate/middleware'
import { bundled } from '../../support/bundled.ts'
import type { GateName } from './gates/gate.ts'
import type { Answer, Load, Order, Report } from './orders.ts'

const DRIVER = fileURLToPath(new URL('driver.ts', import.meta.url))

export interface Driver {
  readonly pid: number
  /** The file with its decisions. */
  readonly log: string
  /** Resolves when all its requests are answered; `undefined` where it was killed before. */
  load(load: Load): Promise<{ readonly p50: number; readonly p99: number } | undefined>
  ask(subject: string, limit: RateLimit): Promise<Answer>
  kill(): void
}

export interface Fleet {
  readonly drivers: readonly Driver[]
  /** Units that limiters told of as lost, each as often as it was told. */
  readonly lost: readonly { readonly subject: string; readonly units: number }[]
  close(): Promise<void>
}

export interface FleetOptions {
  readonly processes: number
  readonly gate: GateName
  /** Of the store. */
  readonly address: string
  /** For the logs. */
  readonly folder: string
}

/** Starts processes, each with a limiter of its own over the one store. */
export async function startFleet({ processes, gate, address, folder }: FleetOptions): Promise<Fleet> {
  const lost: { subject: string; units: number }[] = []
  const started = Array.from({ length: processes }, (_, index) => {
    const log = join(folder, `driver-${index}.log`)
    const child = fork(bundled(DRIVER), { serialization: 'advanced', stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
    return { child, driver: driverOf(child, log, (report) => lost.push(report)), log }
  })
  const close = async () => {
    await Promise.all(
      started.map(async ({ child }) => {
        if (child.exitCode !== null || child.signalCode !== null) return
        const gone = once(child, 'exit')
        child.kill('SIGKILL')
        await gone
      }),
    )
  }
  try {
    await Promise.all(
      started.map(async ({ child, log }) => {
        child.send({ kind: 'open', gate, address, log } satisfies Order)
        await Promise.race([
          once(child, 'message'),
          once(child, 'exit').then(() => Promise.reject(new Error('A driver ended before it was ready'))),
        ])
      }),
    )
  } catch (error) {
    await close()
    throw error
  }
  return { drivers: started.map(({ driver }) => driver), lost, close }
}

function driverOf(
  child: ChildProcess,
  log: string,
  onLost: (report: { readonly subject: string; readonly units: number }) => void,
): Driver {
  const answers = new Map<number, (answer: Answer) => void>()
  let asked = 0
  let done: ((late: { readonly p50: number; readonly p99: number } | undefined) => void) | undefined

  child.on('message', (report: Report) => {
    switch (report.kind) {
      case 'ready':
        return
      case 'done':
        return done?.(report.lateMs)
      case 'answer':
        answers.get(report.id)?.(report.answer)
        answers.delete(report.id)
        return
      case 'lost':
        return onLost(report)
      case 'broken':
        process.stderr.write(`In a driver: ${report.message}\n`)
    }
  })
  child.on('exit', () => {
    done?.(undefined)
    for (const answer of answers.values()) answer({ failed: 'the driver has ended' })
  })
  const tell = (order: Order) => child.send(order)

  return {
    pid: child.pid ?? 0,
    log,
    load(load) {
      const { promise, resolve } = Promise.withResolvers<{ readonly p50: number; readonly p99: number } | undefined>()
      done = resolve
      tell({ kind: 'load', load })
      return promise
    },
    ask(subject, limit) {
      const { promise, resolve } = Promise.withResolvers<Answer>()
      asked += 1
      answers.set(asked, resolve)
      tell({ kind: 'ask', id: asked, subject, limit })
      return promise
    },
    kill: () => void child.kill('SIGKILL'),
  }
}
