import type * as z from 'zod'

/**
 * What the schema found wrong, each with its path.
 *
 * A union's faults are told for the branch that the author most likely meant: of those of the value's kind, the one that
 * knows most of its fields, then the one with the fewest faults. Where the value is of no branch's kind, the union's own
 * message says what would be.
 */
export function schemaFaults(issue: z.core.$ZodIssue): string[] {
  if (issue.code === 'invalid_union') {
    const ofItsKind = issue.errors.filter((branch) => !branch.some(isWrongKind))
    const [meant] = ofItsKind.toSorted((a, b) => unknownFields(a) - unknownFields(b) || a.length - b.length)
    if (meant) return meant.flatMap((inner) => schemaFaults({ ...inner, path: [...issue.path, ...inner.path] }))
  }
  return [`${pathOf(issue.path) || 'the document'}: ${issue.message}`]
}

function isWrongKind({ path, code }: z.core.$ZodIssue): boolean {
  return path.length === 0 && code !== 'unrecognized_keys'
}

function unknownFields(branch: readonly z.core.$ZodIssue[]): number {
  return branch.reduce(
    (count, issue) =>
      issue.code === 'unrecognized_keys' && issue.path.length === 0 ? count + issue.keys.length : count,
    0,
  )
}

function pathOf(path: readonly PropertyKey[]): string {
  return path.reduce<string>(
    (text, part) =>
      typeof part === 'number' ? `${text}[${part}]` : text === '' ? String(part) : `${text}.${String(part)}`,
    '',
  )
}
