import type * as z from 'zod'
import { closestName } from '../policy/index.ts'
import type { ManageAction, Managed, ManageOutput } from './action.ts'
import { audited } from './audit.ts'
import { ManageFault } from './fault.ts'

/**
 * Checks what an action is given, and carries it out: what changes something, once it is written down who does it.
 *
 * @throws ManageFault that names the field; what a store throws
 */
export async function perform<Action extends ManageAction>(
  action: Action,
  given: unknown,
  managed: Managed,
): Promise<ManageOutput<Action>> {
  const input = checkInput(action, given)
  const run = () => action.run(input, managed) as Promise<ManageOutput<Action>>
  return action.method === 'GET' || action.changesNothing ? run() : audited(action, input, managed, run)
}

/** What an action is given, as its schema makes it. @throws ManageFault that names the field */
export function checkInput<Action extends ManageAction>(action: Action, given: unknown): z.output<Action['input']> {
  const parsed = action.input.safeParse(given)
  if (!parsed.success) throw inputFault(parsed.error, action)
  return parsed.data as z.output<Action['input']>
}

/** The longest name of a field that is repeated to who sent it. */
const LONGEST_SHOWN = 32

function inputFault({ issues: [issue] }: z.ZodError, { input }: ManageAction): ManageFault {
  if (issue?.code === 'unrecognized_keys') {
    const [key = ''] = issue.keys
    const shown = key.slice(0, LONGEST_SHOWN)
    const known = issue.path.length === 0 ? Object.keys(input.shape) : []
    const meant = closestName(key, known)
    const hint = meant === undefined ? '' : ` Did you mean '${meant}'?`
    const field = [...issue.path, shown].join('.')
    return new ManageFault(`'${field}' is no field here.${hint}`, { code: 'invalid_request', status: 400, field })
  }
  const field = issue?.path.join('.') || undefined
  const message =
    field === undefined
      ? `${issue?.message}.`
      : `'${field}'${isMissing(issue) ? ' is missing' : `: ${issue?.message}`}.`
  return new ManageFault(message, { code: 'invalid_request', status: 400, field })
}

/** JSON has no `undefined`: a field whose value is that was left out. */
function isMissing(issue: z.core.$ZodIssue | undefined): boolean {
  return issue?.code === 'invalid_type' && issue.message.endsWith('received undefined')
}
