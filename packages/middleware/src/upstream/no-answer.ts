import type { UpstreamFailure } from '../pipeline/index.ts'

/** A model answered, and it was no completion. */
export class NoAnswer extends Error {
  override readonly name = 'NoAnswer'
  readonly failure: UpstreamFailure
  constructor(failure: UpstreamFailure) {
    super('The model did not answer with a completion')
    this.failure = failure
  }
}
