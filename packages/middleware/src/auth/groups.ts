import * as z from 'zod'
import { nameSchema } from '../policy/index.ts'
import { MOST_GROUPS } from './caller.ts'

const LONGEST_VALUE = 128

/** The groups of a key: a name of the policy, and the value that the key's requests have there. */
export const groups = z
  .record(
    nameSchema,
    z
      .string()
      .min(1)
      .max(LONGEST_VALUE)
      // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is refused
      .regex(/^[^\u0000-\u001f\u007f]*$/, 'must have no control characters'),
  )
  .refine((each) => Object.keys(each).length <= MOST_GROUPS, `may have ${MOST_GROUPS} at most`)
