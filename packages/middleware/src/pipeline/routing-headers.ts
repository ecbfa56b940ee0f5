/* Headers of an answer that say who served it, and why. Names of the policy and ids: no address, and no secret. */

/** The policy's name of the model. */
export const MODEL_HEADER = 'x-tollgate-model'
/** Why that model. */
export const REASON_HEADER = 'x-tollgate-reason'
/** The id of the target that made the answer; of a hit too, where that is known. */
export const TARGET_HEADER = 'x-tollgate-target'
