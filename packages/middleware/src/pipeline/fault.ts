import { faultMessage } from './fault-message.ts'

/**
 * A fault that an operator can mend. Its message names what is wrong and the fix, and holds neither a secret nor a
 * prompt, so that it may be printed and logged. Known by `operatorMessage`, since two copies of this class can meet.
 */
export class OperatorError extends Error {
  override readonly name: string = 'OperatorError'
  get operatorMessage(): string {
    return this.message
  }
}

/**
 * A fault's kind and place, for a log line. Its message is told where it was written for the operator; that of the
 * JavaScript engine's own errors without the values in it (`faultMessage`). Any other is left out, because libraries quote
 * what they were given: keys, prompts, connection strings.
 */
export function describeFault(fault: unknown): Record<string, unknown> {
  if (!(fault instanceof Error)) return { fault: typeof fault }
  const { code, statusCode } = fault as { code?: unknown; statusCode?: unknown }
  const { operatorMessage = faultMessage(fault) } = fault as Partial<OperatorError>
  return {
    fault: fault.name,
    ...(typeof code === 'string' && /^[\w.-]{1,64}$/.test(code) ? { code } : {}),
    ...(typeof statusCode === 'number' ? { statusCode } : {}),
    ...(typeof operatorMessage === 'string' ? { message: operatorMessage } : {}),
    at: fault.stack
      ?.split('\n')
      .filter((line) => /^\s+at .+:\d+:\d+\)?$/.test(line))
      .slice(0, 6)
      .map((line) => line.trim()),
    ...(fault.cause === undefined ? {} : { cause: describeFault(fault.cause) }),
  }
}
