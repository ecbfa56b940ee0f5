import { OperatorError } from '@tollgate/middleware'

/** A command that can't be carried out. The message names the option or setting, and the fix. */
export class CommandFault extends OperatorError {
  override readonly name = 'CommandFault'
}
