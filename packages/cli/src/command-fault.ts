/** A command that can't be carried out. The message names the option or setting, and the fix. */
export class CommandFault extends Error {
  override readonly name = 'CommandFault'
  readonly operatorMessage: string
  constructor(message: string) {
    super(message)
    this.operatorMessage = message
  }
}
