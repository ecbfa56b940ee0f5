import type { UpstreamFailure } from '../pipeline/index.ts'

/** A streamed answer that can't be brought to its end. */
export class BrokenStream extends Error {
  override readonly name = 'BrokenStream'
  readonly failure: UpstreamFailure
  constructor(failure: UpstreamFailure, options?: ErrorOptions) {
    super('The stream of the model broke off', options)
    this.failure = failure
  }
}
