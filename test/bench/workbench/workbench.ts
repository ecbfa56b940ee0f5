import type { RunningHost } from '../../support/host.ts'
import type { Closing } from './closing.ts'
import type { Section } from './section.ts'

/** What a section measures with. */
export interface Workbench {
  /** So short that the figures mean nothing: only what must hold on any machine is judged. */
  readonly quick: boolean
  /** For files that go with the run. */
  readonly folder: string
  /** Ends what a section has begun, also when the run is broken off. */
  readonly closing: Closing
}

/** Of one process; the first say most. */
const MOST_FAULTS = 3

export type Measure = (bench: Workbench) => Promise<readonly Section[]>

/** A process that is killed when its section ends; what went wrong in it is told then, since it may be why a load failed. */
export function running({ closing }: Workbench, starting: Promise<RunningHost>): Promise<RunningHost> {
  return closing.add(starting, async (host) => {
    await host.stop('SIGKILL')
    const faults = host.output().match(/^error .*(?:\n {4}at .*)*/gm) ?? []
    for (const fault of faults.slice(0, MOST_FAULTS)) process.stderr.write(`${fault}\n`)
  })
}
