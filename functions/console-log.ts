import type { Log } from '@tollgate/middleware'

/**
 * For what concerns all requests: it is written once, and to the console, since it is no single invocation's. One JSON
 * text a line, as the invocations' own.
 */
export const consoleLog: Log = (level, event, fields) => console[level](JSON.stringify({ event, ...fields }))
