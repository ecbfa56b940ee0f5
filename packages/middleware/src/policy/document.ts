import {
  type Alias,
  Composer,
  type Document,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  Parser,
  type YAMLError,
} from 'yaml'

/* The document's text: parsed, and its places named as faults name them. */

/** A place in the document as a fault names it: `plans.free.limits[0].per`. */
export function pathText(path: readonly PropertyKey[]): string {
  return path.reduce<string>((text, part) => `${text}${partText(part, text === '')}`, '')
}

/** What begins as keys do may be one that stands in the wrong place. */
const SECRET = /^(?:sk|tg)[-_]/i

function partText(part: PropertyKey, isFirst: boolean): string {
  if (typeof part === 'number') return `[${part}]`
  const name = String(part)
  if (SECRET.test(name)) return '["…"]'
  if (!/^[\w.$<>-]{1,64}$/.test(name)) return `[${JSON.stringify(name.length > 40 ? `${name.slice(0, 40)}…` : name)}]`
  return isFirst ? name : `.${name}`
}

/** A policy of 10,000 plans with a few limits each has about this many values. */
const MOST_VALUES = 200_000
/** The grammar's deepest place, a target's key, is seven levels deep. */
const DEEPEST = 32
/** Of what can't be parsed only the first faults mean something: the rest follow from them. */
const MOST_SYNTAX_FAULTS = 3

/** A parsed document, or why it can't be used. */
export type YamlDocument =
  | { readonly faults: readonly string[] }
  | {
      readonly faults: undefined
      readonly document: unknown
      /** The line, from 1, of a place as `pathText` writes it, or of the nearest place around it. */
      lineOf(path: string): number | undefined
    }

/**
 * Parses YAML 1.2, of which JSON is a part, in time that grows with the text's length alone. The library's own checks for
 * repeated keys and for aliases take the square of it, so both are made here.
 */
export function parseYaml(text: string): YamlDocument {
  const lines = new LineCounter()
  const comment = jsonComment(text)
  if (comment !== undefined) {
    const what = 'JSON has no comments. Remove it, or let it begin with #.'
    return { faults: [`not valid YAML or JSON at line ${comment}: ${what}`] }
  }
  if (deepestNesting(text) > DEEPEST) return { faults: [TOO_DEEP] }
  try {
    const [document, ...others] = compose(text, lines)
    if (document === undefined) return { faults: [EMPTY] }
    const broken = [...document.errors, ...document.warnings]
    if (broken.length > 0) {
      const told = broken.slice(0, MOST_SYNTAX_FAULTS).map((error) => syntaxFault(error, text, lines))
      return { faults: [...new Set(told)] }
    }
    if (others.length > 0) return { faults: [MANY_DOCUMENTS] }
    const { contents } = document
    if (contents === null || (isScalar(contents) && contents.value === null)) return { faults: [EMPTY] }
    const { faults, places } = survey(contents, lines)
    if (faults.length > 0) return { faults }
    return {
      faults: undefined,
      document: document.toJS({ maxAliasCount: -1 }),
      lineOf: (path) => nearest(places, path),
    }
  } catch (error) {
    // What recurses in the parser runs out of stack on brackets in brackets.
    if (error instanceof RangeError) return { faults: [TOO_DEEP] }
    throw error
  }
}

const EMPTY =
  'the document is empty, so no limit would hold but the defaults. Write the policy into it, or remove the file to have the defaults.'
const MANY_DOCUMENTS = "the file holds several documents, separated by '---'. Keep one: a policy is one document."
const TOO_DEEP = `not valid YAML or JSON: it is nested deeper than ${DEEPEST} levels, and a policy never is.`

function compose(text: string, lines: LineCounter): Document.Parsed[] {
  const composer = new Composer({ uniqueKeys: false, prettyErrors: false, logLevel: 'error' })
  const parser = new Parser(lines.addNewLine)
  return [...composer.compose(parser.parse(text))]
}

/** Brackets that are open at once, wherever they stand: the parser's time grows with their square. */
function deepestNesting(text: string): number {
  let open = 0
  let deepest = 0
  for (let index = 0; index < text.length; index += 1) {
    const code = text.charCodeAt(index)
    if (code === 0x5b || code === 0x7b) deepest = Math.max(deepest, ++open)
    else if (code === 0x5d || code === 0x7d) open = Math.max(0, open - 1)
  }
  return deepest
}

/** The line of a comment as JavaScript has them, in a document that begins as JSON does. */
function jsonComment(text: string): number | undefined {
  if (!/^\uFEFF?\s*[{[]/.test(text)) return undefined
  const bare = text.replace(/"(?:\\.|[^"\\\n])*"/g, '')
  const line = bare
    .split('\n')
    .findIndex((each) => /(?:^|[\s,{}[\]])(?:\/\/|\/\*)/.test(each.replace(/(?:^|\s)#.*/, '')))
  return line < 0 ? undefined : line + 1
}

interface Survey {
  readonly faults: readonly string[]
  /** The line of each place. */
  readonly places: ReadonlyMap<string, number>
}

/** Walks the document once: where each value stands, which keys stand twice, and how large it is with its aliases. */
function survey(root: Node, lines: LineCounter): Survey {
  const faults: string[] = []
  const places = new Map<string, number>()
  /** Values below each anchored node; `undefined` while it is being walked. */
  const sizes = new Map<string, number | undefined>()
  const lineAt = (node: Node | null | undefined) => lines.linePos(node?.range?.[0] ?? 0).line
  const isFull = () => faults.length > 0 && places.size > MOST_VALUES

  function walk(node: Node | null, path: readonly PropertyKey[], at: Node | null): number {
    if (isFull()) return 0
    const text = pathText(path)
    if (path.length > 0 && !places.has(text)) places.set(text, lineAt(at))
    if (path.length > DEEPEST) {
      if (faults.at(-1) !== TOO_DEEP) faults.push(TOO_DEEP)
      return 0
    }
    if (isAlias(node)) return aliased(node, path)
    const anchor = anchorOf(node)
    if (anchor !== undefined) sizes.set(anchor, undefined)
    const size = 1 + below(node, path)
    if (anchor !== undefined) sizes.set(anchor, size)
    return size
  }

  function below(node: Node | null, path: readonly PropertyKey[]): number {
    if (isSeq<Node | null>(node)) {
      return node.items.reduce((sum, item, index) => sum + walk(item, [...path, index], item), 0)
    }
    if (!isMap<Node | null, Node | null>(node)) return 0
    const seen = new Map<string, Node | null>()
    let sum = 0
    for (const { key, value } of node.items) {
      const name = isScalar(key) ? String(key.value ?? '') : undefined
      const place = pathText([...path, name ?? '?'])
      if (name === undefined) {
        faults.push(
          `${pathText(path) || 'the document'}: a key must be a plain name, and one at line ${lineAt(key)} is not.`,
        )
        continue
      }
      const first = seen.get(name)
      if (first !== undefined) {
        const both = `once at line ${lineAt(first)} and again at line ${lineAt(key)}`
        faults.push(`${place}: stands twice, ${both}, and only one would hold. Keep one.`)
      } else if (name === '<<') {
        faults.push(
          `${place}: merge keys (<<) are not part of YAML 1.2. Write the fields out, or use an alias for a whole value.`,
        )
      } else if (name === '__proto__') faults.push(`${place}: this name can't be used. Choose another.`)
      seen.set(name, key)
      sum += walk(value, [...path, name], key)
    }
    return sum
  }

  function aliased({ source }: Alias, path: readonly PropertyKey[]): number {
    const size = sizes.get(source)
    if (size !== undefined) return size
    const fault = sizes.has(source)
      ? `the alias *${source} stands inside what it names. Write the value out.`
      : `the alias *${source} has no anchor &${source} before it. Define it, or put text that begins with * in quotes.`
    faults.push(`${pathText(path)}: ${fault}`)
    return 0
  }

  const size = walk(root, [], root)
  if (size > MOST_VALUES) {
    const count = size.toLocaleString('en-US')
    faults.unshift(
      `the document has ${count} values, with its aliases written out, and may have ${MOST_VALUES.toLocaleString('en-US')}. Use fewer plans, or fewer aliases.`,
    )
  }
  return { faults, places }
}

function anchorOf(node: Node | null): string | undefined {
  return isScalar(node) || isMap(node) || isSeq(node) ? node.anchor : undefined
}

function nearest(places: ReadonlyMap<string, number>, path: string): number | undefined {
  for (let text = path; text !== ''; text = text.replace(/(?:\.?[^.[\]]+|\[[^\]]*\]?|[.\]])$/, '')) {
    const line = places.get(text)
    if (line !== undefined) return line
  }
  return undefined
}

/** What the parser's codes mean. Its own messages can quote the document, which may hold what is no one's to log. */
const SYNTAX: Readonly<Record<string, string>> = {
  TAB_AS_INDENT: 'a tab indents the line, and YAML takes spaces only. Replace the tabs by spaces.',
  BAD_INDENT: 'the indentation fits no line above. Indent the fields of one map by the same number of spaces.',
  MISSING_CHAR:
    'something is missing: a closing quote, bracket or brace, a comma between two values, or a space after a colon.',
  UNEXPECTED_TOKEN: 'something stands where it can’t be: see the brackets, quotes, colons and indentation there.',
  BLOCK_AS_IMPLICIT_KEY:
    'two fields stand on one line. Write one a line, or put them in braces: {requests: 10, per: 1m}.',
  BLOCK_IN_FLOW: 'a comma or a closing bracket is missing. In brackets and braces, commas stand between the values.',
  MULTILINE_IMPLICIT_KEY: 'a field has no colon and value. Write name: value, with a space after the colon.',
  BAD_SCALAR_START: 'a value begins with a character that YAML keeps for itself (@ ` % and others). Put it in quotes.',
  BAD_DQ_ESCAPE: 'an unknown escape in a quoted text. Double the backslash, or use single quotes.',
  BAD_ALIAS: 'an alias without a name. Put text that begins with * in quotes.',
  TAG_RESOLVE_FAILED: 'tags (a word that begins with !) are not used. Remove it; for a variable write {env: NAME}.',
  BAD_DIRECTIVE: 'lines that begin with % are not used. Remove it.',
  MULTIPLE_ANCHORS: 'one value has two anchors. Keep one.',
  DUPLICATE_KEY: 'a name stands twice. Keep one.',
}

const UNCLOSED = 'the document ends inside a bracket, a brace or a quoted text. Close it.'

const TIGHT = 'a colon needs a space behind it. Write name: value.'

function syntaxFault({ code, pos }: YAMLError, text: string, lines: LineCounter): string {
  const { line, col } = lines.linePos(pos[0])
  const [, afterColon] = /^\s*[\w.-]+:(\S)/.exec(text.split('\n', line)[line - 1] ?? '') ?? []
  const isTight = afterColon !== undefined && !/[/:]/.test(afterColon)
  const isUnclosed = pos[0] >= text.trimEnd().length && code !== 'MULTILINE_IMPLICIT_KEY'
  const what = isTight
    ? TIGHT
    : isUnclosed
      ? UNCLOSED
      : (SYNTAX[code] ?? 'see the brackets, quotes, colons and indentation there.')
  return `not valid YAML or JSON at line ${line}, column ${col}: ${what}`
}
