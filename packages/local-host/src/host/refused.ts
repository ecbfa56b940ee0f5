/** The Functions host's bound on a request's body. */
export const MAX_BODY_BYTES = 100 * 1024 * 1024

/** A refusal by the host itself, in plain words. */
export class Refused extends Error {
  readonly status: number
  constructor(status: number, message: string) {
    super(message)
    this.status = status
  }
}
