import { breakAfter, breakBefore } from './line-break.ts'
import type { Removal } from './removal.ts'
import type { SeenTexts } from './seen-texts.ts'
import { type Element, type Span, structureOf } from './structure.ts'
import type { Place } from './texts.ts'
import { isWholeJson } from './whole-json.ts'

const ROLES: ReadonlySet<string> = new Set(['user', 'system', 'developer', 'tool', 'function'])
/** Elements further in belong to those around them. Each level is read once more. */
const MOST_DEEP = 8

/**
 * The text without the elements that have been seen before, byte for byte, as they came or after what is in them was
 * dropped; each that stays is seen from then on. A line that held nothing else goes with its element. A text of nothing
 * but repetitions stays, since an empty message is refused by some models.
 */
export function dropDuplicates(
  text: string,
  place: Place,
  { names, seen }: { readonly names: readonly string[]; readonly seen: SeenTexts },
  removed: Removal[],
): string {
  if (!ROLES.has(place.role) || isWholeJson(text, place)) return text
  const { elements, unpaired } = structureOf(text, names)
  const dropped: Span[] = []
  const reduced = reduce({ start: 0, end: text.length }, elements, 1)
  if (dropped.length === 0 || (reduced.trim() === '' && text.trim() !== '')) return text
  for (const { start, end } of dropped) removed.push({ kind: 'dup', before: text.slice(start, end) })
  return reduced

  function reduce(span: Span, children: readonly Element[], depth: number): string {
    const pieces: string[] = []
    let at = span.start
    let isAfterBlank = false
    for (const child of children) {
      const rest = survivor(child, depth)
      if (rest === undefined) {
        const gone = lineOf(text, child, at, isAfterBlank)
        pieces.push(text.slice(at, gone.start))
        dropped.push(gone)
        at = gone.end
        isAfterBlank = gone.isAfterBlank
      } else if (rest !== text.slice(child.start, child.end)) {
        pieces.push(text.slice(at, child.start), rest)
        at = child.end
        isAfterBlank = false
      }
    }
    pieces.push(text.slice(at, span.end))
    return pieces.join('')
  }

  /** What is left of an element; `undefined` where it has been seen. */
  function survivor(element: Element, depth: number): string | undefined {
    const whole = text.slice(element.start, element.end)
    const isKnown = (found: string) => !unpaired.has(element.name) && seen.has(found)
    if (isKnown(whole)) return undefined
    const before = dropped.length
    const rest = depth < MOST_DEEP ? reduce(element, element.children, depth + 1) : whole
    if (isKnown(rest)) {
      dropped.length = before
      return undefined
    }
    if (!unpaired.has(element.name)) {
      seen.add(whole)
      seen.add(rest)
    }
    return rest
  }
}

interface Gone extends Span {
  /** Whether what follows it comes after an empty line, or after nothing. */
  readonly isAfterBlank: boolean
}

/**
 * What goes with an element: its line, where it holds nothing else, and one of two empty lines that would then meet.
 *
 * @param from where what is not gone yet begins
 * @param isAfterBlank whether that comes after an empty line
 */
function lineOf(text: string, { start, end }: Span, from: number, isAfterBlank: boolean): Gone {
  let first = start
  while (first > from && isSpace(text[first - 1])) first -= 1
  let last = end
  while (isSpace(text[last])) last += 1
  const startsLine = first === 0 || breakBefore(text, first) > 0
  const endsLine = last === text.length || breakAfter(text, last) > 0
  if (!startsLine || !endsLine) return { start, end, isAfterBlank: false }

  const previous = first - breakBefore(text, first)
  const followsBlank = first === from ? isAfterBlank || first === 0 : previous === 0 || breakBefore(text, previous) > 0
  if (last === text.length) {
    const begins = followsBlank ? previous - breakBefore(text, previous) : previous
    return { start: Math.max(from, begins), end: last, isAfterBlank: false }
  }
  const next = last + breakAfter(text, last)
  return { start: first, end: followsBlank ? next + breakAfter(text, next) : next, isAfterBlank: followsBlank }
}

function isSpace(character: string | undefined): boolean {
  return character === ' ' || character === '\t'
}
