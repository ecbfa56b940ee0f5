import * as z from 'zod'
import { isGroupValue, MOST_GROUPS, nameSchema } from '../policy/index.ts'

/** The groups of a key: a name of the policy, and the value that the key's requests have there. */
export const keyGroups = z
  .record(nameSchema, z.string().refine(isGroupValue, 'must be 1 to 128 characters without control characters'))
  .refine((each) => Object.keys(each).length <= MOST_GROUPS, `may have ${MOST_GROUPS} at most`)
