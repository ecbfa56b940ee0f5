import { readdirSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join, posix } from 'node:path'
import { Language, type Node, Parser } from 'web-tree-sitter'
import { ROOT } from '../support/host.ts'

const FOLDER = 'infra'

export type Kind = 'param' | 'var' | 'resource' | 'module' | 'output'

export interface Declaration {
  readonly kind: Kind
  readonly name: string
  readonly node: Node
  /** By name: `description`, `secure` … with the text of the first argument, or nothing. */
  readonly decorators: ReadonlyMap<string, string>
  /** A resource's type and version, or a module's path. */
  readonly target: string | undefined
}

/** A Bicep file as its grammar reads it. */
export interface Template {
  /** From the repository's root. */
  readonly file: string
  readonly text: string
  readonly root: Node
  /** Where the grammar found no sense. */
  readonly faults: readonly string[]
  readonly declarations: readonly Declaration[]
}

const parser = await openParser()

async function openParser(): Promise<Parser> {
  await Parser.init()
  const { resolve } = createRequire(import.meta.url)
  const grammar = join(dirname(resolve('tree-sitter-bicep/package.json')), 'tree-sitter-bicep.wasm')
  return new Parser().setLanguage(await Language.load(grammar))
}

/** Every file of the folder that ends so, from the repository's root. */
export function filesOf(extension: string): string[] {
  return readdirSync(join(ROOT, FOLDER), { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith(extension))
    .map((file) => posix.join(FOLDER, file.replaceAll('\\', '/')))
    .sort()
}

/** @param text what the file would hold; by default what it holds. */
export function readTemplate(file: string, text: string = readFileSync(join(ROOT, file), 'utf8')): Template {
  // The grammar knows no parameter files; there a parameter has the form that a variable has elsewhere.
  const source = file.endsWith('.bicepparam') ? text.replace(/^param (?=\w+ =)/gm, 'var   ') : text
  const tree = parser.parse(source)
  if (tree === null) throw new Error(`${file} was not parsed`)
  const root = tree.rootNode
  return { file, text, root, faults: grammarFaults(file, root), declarations: declarationsOf(root) }
}

/** The file that a module declaration in this one names. */
export function modulePath(template: Template, { target = '' }: Declaration): string {
  return posix.join(posix.dirname(template.file), target)
}

export function of(template: Template, ...kinds: readonly Kind[]): readonly Declaration[] {
  return template.declarations.filter(({ kind }) => kinds.includes(kind))
}

/** A node and all below it. */
export function* within(node: Node): Generator<Node> {
  yield node
  for (const child of node.namedChildren) yield* within(child)
}

/** From a node's parent upwards. */
export function* above(node: Node): Generator<Node> {
  for (let parent = node.parent; parent !== null; parent = parent.parent) yield parent
}

/** What a string says, with `*` where it holds an expression. */
export function stringText(node: Node): string {
  return node.namedChildren
    .map((part) =>
      part.type === 'interpolation' ? '*' : part.type === 'escape_sequence' ? part.text.slice(1) : part.text,
    )
    .join('')
}

export interface Property {
  readonly name: string
  readonly key: Node
  readonly value: Node
}

/** The properties of an object literal. */
export function propertiesOf(object: Node): Property[] {
  return object.namedChildren
    .filter(({ type }) => type === 'object_property')
    .flatMap(({ namedChildren: [key, value] }) =>
      key === undefined || value === undefined
        ? []
        : [{ name: key.type === 'string' ? stringText(key) : key.text, key, value }],
    )
}

/** The object that a resource or module is declared by, inside its condition or loop. */
export function bodyOf({ node }: Declaration): Node {
  const body = [...within(node)].find(({ type }) => type === 'object')
  if (body === undefined) throw new Error(`${node.text.slice(0, 60)} has no body`)
  return body
}

export function place({ file }: Pick<Template, 'file'>, node: Node): string {
  return `${file}:${node.startPosition.row + 1}`
}

function grammarFaults(file: string, root: Node): string[] {
  const faults: string[] = []
  const look = (node: Node) => {
    if (node.isError || node.isMissing) faults.push(`${place({ file }, node)}: ${node.text.slice(0, 60)}`)
    for (const child of node.children) look(child)
  }
  look(root)
  return faults
}

const KINDS: Readonly<Record<string, Kind>> = {
  parameter_declaration: 'param',
  variable_declaration: 'var',
  resource_declaration: 'resource',
  module_declaration: 'module',
  output_declaration: 'output',
}

function declarationsOf(root: Node): Declaration[] {
  const found: Declaration[] = []
  let decorators = new Map<string, string>()
  for (const node of root.namedChildren) {
    if (node.type === 'comment') continue
    if (node.type === 'decorators') {
      decorators = decoratorsOf(node)
      continue
    }
    const kind = KINDS[node.type]
    const [name, target] = node.namedChildren
    if (kind !== undefined && name !== undefined) {
      const named = kind === 'resource' || kind === 'module'
      found.push({ kind, name: name.text, node, decorators, target: named && target ? stringText(target) : undefined })
    }
    decorators = new Map()
  }
  return found
}

function decoratorsOf(node: Node): Map<string, string> {
  return new Map(
    node.namedChildren.map((decorator) => {
      const call = decorator.namedChildren[0]
      const argument = call?.childForFieldName('arguments')?.namedChildren[0]
      const name = call?.childForFieldName('function')?.text ?? ''
      return [name, argument?.type === 'string' ? stringText(argument) : (argument?.text ?? '')]
    }),
  )
}
