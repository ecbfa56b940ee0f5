import { OperatorError, type RefusalCode } from '../pipeline/index.ts'
import type { RefusedStatus } from './action.ts'

interface ManageFaultOptions {
  readonly code: RefusalCode
  /** 503: a store could not be reached before anything was changed. */
  readonly status: 400 | RefusedStatus | 503
  /** Of the input, the field at fault: the message begins with it in quotes. */
  readonly field?: string | undefined
}

/** What was asked can't be done, and nothing was changed. The message names the fix, and may be told to who asked. */
export class ManageFault extends OperatorError {
  override readonly name = 'ManageFault'
  readonly code: RefusalCode
  readonly status: ManageFaultOptions['status']
  readonly field: string | undefined

  constructor(message: string, { code, status, field }: ManageFaultOptions) {
    super(message)
    this.code = code
    this.status = status
    this.field = field
  }
}
