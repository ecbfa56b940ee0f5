import { writeSync } from 'node:fs'

const STDOUT = 1

/**
 * Writes lines to standard output, all of a turn of the event loop in one piece: a write for each line costs as much as a cached
 * answer. What waits when the process ends is written then.
 */
export function logLines(): (line: string) => void {
  let waiting = ''

  function flush(): void {
    const lines = waiting
    waiting = ''
    if (lines !== '') process.stdout.write(lines)
  }

  process.once('exit', () => {
    if (waiting !== '') writeSync(STDOUT, waiting)
  })
  return function write(line) {
    if (waiting === '') setImmediate(flush)
    waiting += `${line}\n`
  }
}
