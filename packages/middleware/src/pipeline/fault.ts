/** An error that was written for the operator and is known to hold neither a secret nor a prompt. */
export interface OperatorError extends Error {
  readonly operatorMessage: string
}

/**
 * A fault's kind and place, for a log line. Its message is left out unless it was written for the operator,
 * because libraries quote what they were given: keys, prompts, connection strings.
 */
export function describeFault(fault: unknown): Record<string, unknown> {
  if (!(fault instanceof Error)) return { fault: typeof fault }
  const { code, statusCode } = fault as { code?: unknown; statusCode?: unknown }
  const operatorMessage = (fault as Partial<OperatorError>).operatorMessage
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
