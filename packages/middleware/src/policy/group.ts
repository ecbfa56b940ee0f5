import * as z from 'zod'
import { interned } from './interned.ts'
import { type Limit, type LimitList, limits, resolveLimits } from './limit.ts'
import { listText, name } from './names.ts'

/* A group: callers who share limits by a value that they have in common, such as a cost centre. */

export interface Group {
  readonly name: string
  /** The claim of a token that holds its value; `undefined` where keys alone are in it. */
  readonly claim: string | undefined
  /** Whether a caller without a value is refused. */
  readonly required: boolean
  /** For all callers of one value together. */
  readonly limits: readonly Limit[]
}

/** A policy has so many groups at most, and so a request is in no more, whatever its key or token says. */
export const MOST_GROUPS = 3

/** Characters of a value: it is told in no header, and hashed in rows. */
const LONGEST_VALUE = 128

/** Whether a text can be a group's value: 1 to 128 characters, of which none is a control character or half of one. */
export function isGroupValue(text: string): boolean {
  return text !== '' && text.length <= LONGEST_VALUE && text.isWellFormed() && !/\p{Cc}/u.test(text)
}

export const groupsSchema = z
  .record(
    name,
    z.strictObject({
      claim: z
        .string()
        .min(1)
        .max(128)
        .optional()
        .describe(
          "The claim of a token that holds the caller's value. Absent: only keys that were made with --group are in it.",
        ),
      required: z
        .boolean()
        .optional()
        .describe('Whether a caller without a value is refused with 403 (false: it is in none).'),
      limits: limits.describe('Limits on all callers of one value together.'),
    }),
  )
  .describe(
    `Callers who share limits by a value that they have in common, such as a cost centre: ${MOST_GROUPS} groups at most.`,
  )

type GroupDocuments = z.infer<typeof groupsSchema>

/** The groups, in their order; what is wrong with them goes to `faults`, with its path. */
export function resolveGroups(
  documents: GroupDocuments | undefined,
  modelFault: LimitList['modelFault'],
  faults: string[],
): readonly Group[] | undefined {
  const names = Object.keys(documents ?? {})
  if (documents === undefined || names.length === 0) return undefined
  if (names.length > MOST_GROUPS) {
    faults.push(
      `groups: a request may be in ${MOST_GROUPS} groups, and there are ${names.length}: ${listText(names)}. Remove some.`,
    )
    return undefined
  }
  const groups = Object.entries(documents).map(([name, { claim, required = false, limits }]): Group => {
    const list = { path: `groups.${name}.limits`, prefix: `group-${name}-`, modelFault } as const
    return { name, claim, required, limits: resolveLimits(limits, list, faults) }
  })
  faults.push(...nameFaults(groups))
  return interned(groups)
}

/** A limit's name tells which group's it is: `tokens` of `a-input` would be told as `input-tokens` of `a`. */
function nameFaults(groups: readonly Group[]): string[] {
  return groups.flatMap((group, index) =>
    groups.slice(0, index).flatMap((other) => {
      const twin = group.limits.find(({ name }) => other.limits.some((limit) => limit.name === name))
      if (twin === undefined) return []
      return [
        `groups.${group.name}: its limit '${twin.name}' would be called as one of groups.${other.name}. Rename one of the groups.`,
      ]
    }),
  )
}
