import { isTimeout, withDeadline } from '@tollgate/middleware'

/** What one look came to. A fault is what keeps requests from being answered, counted or paid for as the operator means. */
export interface Finding {
  readonly check: CheckName
  readonly state: 'ok' | 'warn' | 'fault'
  /** What was seen. Never a secret. */
  readonly saw: string
  /** A command, or a setting and its value: only of what is not ok. */
  readonly fix?: string
}

export const CHECKS = [
  'settings',
  'host',
  'storage',
  'clock',
  'policy',
  'models',
  'prices',
  'cache secret',
  'region',
  'redis',
  'keys',
  'telemetry',
] as const

export type CheckName = (typeof CHECKS)[number]

export type Seen = Omit<Finding, 'check'>

export const ok = (saw: string): Seen => ({ state: 'ok', saw })
export const warn = (saw: string, fix: string): Seen => ({ state: 'warn', saw, fix })
export const fault = (saw: string, fix: string): Seen => ({ state: 'fault', saw, fix })

/** The longest that one check may take, in milliseconds. They run side by side. */
const CHECK_MS = 12_000

export async function checked(
  check: CheckName,
  look: (signal: AbortSignal) => Seen | readonly Seen[] | Promise<Seen | readonly Seen[]>,
): Promise<Finding[]> {
  const seen = await withDeadline(CHECK_MS, async (signal) => look(signal)).catch((error): Seen => {
    if (isTimeout(error)) {
      return fault(
        `no answer within ${CHECK_MS / 1_000} s`,
        'See that the network lets this machine reach it, and run it again.',
      )
    }
    return fault(`could not be looked at: ${codeOf(error)}`, 'Run it again; if it stays, report it with this line.')
  })
  return [seen].flat().map((each) => ({ check, ...each }))
}

/** The innermost code, or the error's class: a text may hold what a library was given. */
export function codeOf(error: unknown): string {
  const { code, cause, name, statusCode } = (error ?? {}) as Partial<NodeJS.ErrnoException> & { statusCode?: unknown }
  if (typeof code === 'string' && /^[\w.-]{1,64}$/.test(code)) return code
  if (typeof statusCode === 'number') return `HTTP ${statusCode}`
  if (cause !== undefined) return codeOf(cause)
  return name ?? typeof error
}
