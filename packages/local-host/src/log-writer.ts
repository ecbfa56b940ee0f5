/**
 * Writes lines to standard output, those of one turn of the event loop together: a write to a pipe stops the process for
 * as long as it takes, and under load there are many lines a turn. What waits when the process ends is written then.
 */
export function logWriter(): (line: string) => void {
  let waiting = ''
  function flush(): void {
    const text = waiting
    waiting = ''
    if (text !== '') process.stdout.write(text)
  }
  process.on('exit', flush)
  return (line) => {
    if (waiting === '') setImmediate(flush)
    waiting += `${line}\n`
  }
}
