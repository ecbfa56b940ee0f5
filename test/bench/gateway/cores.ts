import { spawnSync } from 'node:child_process'
import { availableParallelism } from 'node:os'

const SUBJECT = '0'
const OTHERS = `1-${availableParallelism() - 1}`

/** Why what is measured has no processor of its own here; `undefined` where it has. */
export const notPinned =
  availableParallelism() < 2
    ? 'this machine has one processor'
    : spawnSync('taskset', ['--version']).status === 0
      ? undefined
      : 'there is no taskset on this machine'

/** Puts this process, and with it load, model and stores, which it starts, on the processors that are not the subject's. */
export function leaveSubjectItsCore(): void {
  if (notPinned !== undefined) return
  spawnSync('taskset', ['--all-tasks', '--cpu-list', '--pid', OTHERS, String(process.pid)])
}

/** A command on the processor that is kept for what is measured. */
export function onSubjectsCore(command: readonly string[]): readonly string[] {
  return notPinned === undefined ? ['taskset', '--cpu-list', SUBJECT, ...command] : command
}
