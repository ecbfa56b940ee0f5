import { isJson } from './json-text.ts'
import { breakAfter, breakBefore } from './line-break.ts'

/** From `start` up to, and without, `end`. */
export interface Span {
  readonly start: number
  readonly end: number
}

/** An element, from its tag to its closing tag. */
export interface Element extends Span {
  readonly name: string
  readonly children: readonly Element[]
}

export interface Structure {
  /** The JSON in blocks that are declared to be JSON, in their order. */
  readonly json: readonly Span[]
  /** The outermost elements, in their order. */
  readonly elements: readonly Element[]
  /** Names whose tags don't pair up: nobody knows where such an element ends. */
  readonly unpaired: ReadonlySet<string>
}

interface Fence {
  readonly marks: string
  readonly info: string
  /** Where its content begins. */
  readonly start: number
}

interface Scope {
  /** `undefined` for the text as a whole. */
  readonly name: string | undefined
  readonly start: number
  readonly children: Element[]
  /** The fence that is open in it. */
  fence: Fence | undefined
  /** Tags of its own name within that fence. */
  fenced: number
}

/** An element of exactly one JSON value. */
const DATA = 'data'
const MOST_INDENT = 3
/** Blocks of a text that are tried though they are no JSON: each refusal costs as much as thousands of characters. */
const MOST_REFUSED = 100

/**
 * Finds the fenced code blocks of a text (CommonMark 0.31, section 4.5, at the outermost level), its `<data>` elements,
 * and its elements of the names that are given. Tags in fenced code are code, and in JSON they are data. A fence that is left
 * open ends with the element that it stands in, so that a document that was cut in its code doesn't hide those after it.
 *
 * Every character is looked at a bounded number of times.
 */
export function structureOf(text: string, names: readonly string[]): Structure {
  const token = tokenPattern(names)
  const json: Span[] = []
  const unpaired = new Set<string>()
  const open = new Map<string, number>()
  const scopes: Scope[] = [scopeOf(undefined, 0)]
  let refused = 0

  for (let found = token.exec(text); found !== null; found = token.exec(text)) {
    const [, marks, slash, name = '', rest = ''] = found
    if (marks !== undefined) {
      const lineStart = lineStartOf(text, found.index)
      if (lineStart !== undefined) fenceLine(innermost(), marks, { start: lineStart, end: token.lastIndex })
    } else if (!rest.endsWith('/')) {
      tag(name, slash === '/', { start: found.index, end: token.lastIndex })
    }
  }
  while (scopes.length > 1) leaveOpen(text.length)
  return { json, elements: innermost().children, unpaired }

  function innermost(): Scope {
    return scopes.at(-1) as Scope
  }

  function fenceLine(scope: Scope, marks: string, { start, end }: Span): void {
    const lineEnd = lineEndOf(text, end)
    const info = text.slice(end, lineEnd).trim()
    const { fence } = scope
    if (fence === undefined) {
      const isCodeInALine = marks[0] === '`' && info.includes('`')
      if (!isCodeInALine) scope.fence = { marks, info, start: lineEnd + breakAfter(text, lineEnd) }
    } else if (info === '' && marks.startsWith(fence.marks)) {
      const contentEnd = start - breakBefore(text, start)
      if (fence.info === 'json') takeJson({ start: fence.start, end: contentEnd })
      scope.fence = undefined
      scope.fenced = 0
    }
  }

  function tag(name: string, isClosing: boolean, { start, end }: Span): void {
    const scope = innermost()
    if (scope.fence !== undefined) {
      if (name !== scope.name) return
      if (!isClosing || scope.fenced > 0) {
        scope.fenced += isClosing ? -1 : 1
        return
      }
    }
    const dataEnd = name === DATA && !isClosing ? dataFrom(end) : undefined
    if (dataEnd !== undefined) {
      token.lastIndex = dataEnd
      if (names.includes(DATA)) scope.children.push({ name, start, end: dataEnd, children: [] })
      return
    }
    if (!names.includes(name)) return
    if (!isClosing) {
      scopes.push(scopeOf(name, start))
      open.set(name, (open.get(name) ?? 0) + 1)
      return
    }
    if ((open.get(name) ?? 0) === 0) {
      unpaired.add(name)
      return
    }
    while (innermost().name !== name) {
      unpaired.add(name)
      leaveOpen(start)
    }
    close(end)
  }

  /** Takes the content of a `<data>`, up to the next tag of that name, if it is JSON. @returns the end of the element. */
  function dataFrom(start: number): number | undefined {
    const next = /<(\/?)data(?=[\s/>])[^<>]*>/g
    next.lastIndex = start
    const found = next.exec(text)
    return found?.[1] === '/' && takeJson({ start, end: found.index }) ? next.lastIndex : undefined
  }

  function takeJson(span: Span): boolean {
    if (refused >= MOST_REFUSED) return false
    const isTaken = isJson(text.slice(span.start, span.end))
    if (isTaken) json.push(span)
    else refused += 1
    return isTaken
  }

  function leaveOpen(end: number): void {
    unpaired.add(close(end))
  }

  /** @returns its name. */
  function close(end: number): string {
    const { name, start, children } = scopes.pop() as Scope & { readonly name: string }
    open.set(name, (open.get(name) ?? 0) - 1)
    innermost().children.push({ name, start, end, children })
    return name
  }
}

function scopeOf(name: string | undefined, start: number): Scope {
  return { name, start, children: [], fence: undefined, fenced: 0 }
}

/** The marks of a fence, wherever they stand, or a tag. A tag holds no `<`, so that the search never goes back. */
function tokenPattern(names: readonly string[]): RegExp {
  const known = [...new Set([DATA, ...names])].map((name) => name.replaceAll('.', '\\.'))
  return new RegExp(`(\`{3,}|~{3,})|<(/?)(${known.join('|')})(?=[\\s/>])([^<>]*)>`, 'g')
}

/** Where the line begins that has nothing but an indent before `at`; `undefined` where it has more. */
function lineStartOf(text: string, at: number): number | undefined {
  let start = at
  while (text[start - 1] === ' ' && at - start < MOST_INDENT) start -= 1
  return start === 0 || breakBefore(text, start) > 0 ? start : undefined
}

function lineEndOf(text: string, from: number): number {
  const lineBreak = /[\r\n]/g
  lineBreak.lastIndex = from
  return lineBreak.exec(text)?.index ?? text.length
}
