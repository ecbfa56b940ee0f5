import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

setFlagsFromString('--expose-gc')
const collect: (options: { readonly type: 'minor' | 'major' }) => void = runInNewContext('gc')

/**
 * The bytes of each piece of work that outlive it, though nothing of it is used any more: what the quick collections of young
 * memory don't find, and only one of the whole heap does.
 */
export function bytesOutliving(work: () => void, times: number): number {
  for (let i = 0; i < times / 10; i += 1) work()
  collect({ type: 'major' })
  const before = process.memoryUsage().heapUsed
  for (let i = 0; i < times; i += 1) {
    work()
    if (i % 500 === 499) collect({ type: 'minor' })
  }
  // What survives one is found by the next.
  for (let i = 0; i < 3; i += 1) collect({ type: 'minor' })
  return (process.memoryUsage().heapUsed - before) / times
}
