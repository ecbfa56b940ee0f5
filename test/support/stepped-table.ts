import type { Table } from '@tollgate/middleware'

/** Throws this in the place of what a process that was killed would have gone on with. */
export const KILLED = new Error('killed')

/**
 * The same table, before each use of which a test is asked: what it throws is the use's own fault. A list that is read a page at a
 * time is one use for each of its rows.
 */
export function steppedTable(inner: Table, before: (method: keyof Table) => Promise<void> | void): Table {
  return new Proxy(inner, {
    get(target, name: keyof Table) {
      const method = target[name] as (...args: unknown[]) => unknown
      if (name === 'list' || name === 'scan' || name === 'listBefore') {
        return async function* (...args: unknown[]) {
          await before(name)
          for await (const row of method.apply(target, args) as AsyncIterable<unknown>) {
            yield row
            await before(name)
          }
        }
      }
      return async (...args: unknown[]) => {
        await before(name)
        return method.apply(target, args)
      }
    },
  })
}
