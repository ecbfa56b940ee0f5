import { OperatorError } from '@tollgate/middleware'

/** Settings that can't be used. The message names the setting and the fix, and never a secret's value. */
export class SettingsError extends OperatorError {
  override readonly name = 'SettingsError'
}
