import * as z from 'zod'

/* Names: the form that they have, what was meant by a misspelt one, and how several are listed. */

/** The name of a plan or a model. It goes into headers and the counters' rows as it is. */
export const name = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/, 'must be 1 to 64 letters, digits, dots, dashes or underscores')

/** Names are compared without case and punctuation: `per_month`, `PerMonth` and `per-month` differ in no letter. */
function lettersOf(name: string): string {
  return name.toLowerCase().replace(/[^a-z0-9]/g, '')
}

/** A longer word than any known name is no typo of one, and its comparison would take long. */
const LONGEST = 64

/**
 * The known name that a misspelt one most likely means: the nearest within one wrong letter of three, at least one and at
 * most `most`; `undefined` where none is near.
 */
export function closestName(word: string, known: Iterable<string>, most = 3): string | undefined {
  return closestNames(word, known, most)[0]
}

/** All that are equally near. */
export function closestNames(word: string, known: Iterable<string>, most = 3): readonly string[] {
  const letters = lettersOf(word)
  if (letters === '' || letters.length > LONGEST) return []
  let closest: string[] = []
  let least = Math.min(most, Math.max(1, Math.floor(letters.length / 3)))
  for (const name of known) {
    const other = lettersOf(name)
    if (Math.abs(other.length - letters.length) > least) continue
    const distance = typos(letters, other)
    if (distance < least) [closest, least] = [[name], distance]
    else if (distance === least) closest.push(name)
  }
  return closest
}

/** `a, b and c`; of a long list its beginning and how many more there are. */
export function listText(names: Iterable<string>, word = 'and', most = 12): string {
  const all = [...names]
  const shown = all.length > most ? [...all.slice(0, most - 1), `${all.length - most + 1} more`] : all
  return shown.length < 2 ? (shown[0] ?? 'none') : `${shown.slice(0, -1).join(', ')} ${word} ${shown.at(-1)}`
}

/** How one name leads to the next: `a → b → a`; of a long way its beginning, how many more there are, and its end. */
export function wayText(names: readonly string[], most = 8): string {
  const [last = ''] = names.slice(-1)
  const shown = names.length > most ? [...names.slice(0, most - 2), `${names.length - most + 1} more`, last] : names
  return shown.join(' → ')
}

/** Letters to insert, remove, replace or swap with their neighbour (optimal string alignment). */
function typos(a: string, b: string): number {
  let beforeLast: number[] = []
  let last = Array.from({ length: b.length + 1 }, (_, column) => column)
  for (let row = 1; row <= a.length; row += 1) {
    const current = [row]
    for (let column = 1; column <= b.length; column += 1) {
      const replaced = (last[column - 1] ?? 0) + (a[row - 1] === b[column - 1] ? 0 : 1)
      const best = Math.min(replaced, (last[column] ?? 0) + 1, (current[column - 1] ?? 0) + 1)
      const swapped = row > 1 && column > 1 && a[row - 1] === b[column - 2] && a[row - 2] === b[column - 1]
      current.push(swapped ? Math.min(best, (beforeLast[column - 2] ?? 0) + 1) : best)
    }
    beforeLast = last
    last = current
  }
  return last[b.length] ?? 0
}
