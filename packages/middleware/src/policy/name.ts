import * as z from 'zod'

/** The name of a plan or a model. It goes into headers and the counters' rows as it is. */
export const name = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/, 'must be 1 to 64 letters, digits, dots, dashes or underscores')
