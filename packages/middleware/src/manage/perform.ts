import type * as z from 'zod'
import type { ManageAction, Managed, ManageOutput } from './action.ts'
import { ManageFault } from './fault.ts'

/**
 * Checks what an action is given, and carries it out.
 *
 * @throws ManageFault that names the field; what a store throws
 */
export async function perform<Action extends ManageAction>(
  action: Action,
  given: unknown,
  managed: Managed,
): Promise<ManageOutput<Action>> {
  const parsed = action.input.safeParse(given)
  if (!parsed.success) throw inputFault(parsed.error)
  return (await action.run(parsed.data, managed)) as ManageOutput<Action>
}

function inputFault({ issues: [issue] }: z.ZodError): ManageFault {
  const field = issue?.path.join('.') || undefined
  const message = field === undefined ? `${issue?.message}.` : `'${field}': ${issue?.message}.`
  return new ManageFault(message, { code: 'invalid_request', status: 400, field })
}
