import { OperatorError, type RefusalCode } from '../pipeline/index.ts'

interface ManageFaultOptions {
  readonly code: RefusalCode
  readonly status: 400 | 403 | 404 | 409 | 412 | 422
  /** Of the input, the field at fault. */
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
