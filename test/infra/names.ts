import type { Node } from 'web-tree-sitter'
import {
  above,
  bodyOf,
  type Declaration,
  modulePath,
  of,
  place,
  propertiesOf,
  type Template,
  within,
} from './template.ts'

/** The language's functions that the templates call. One that isn't here is a typo, or to be added. */
const FUNCTIONS: ReadonlySet<string> = new Set(
  (
    'concat empty environment guid items join last map mapValues newGuid objectKeys resourceGroup resourceId split ' +
    'string subscription subscriptionResourceId toLower union uniqueString uriComponent utcNow'
  ).split(' '),
)
const PARAMETER_FILE_FUNCTIONS: ReadonlySet<string> = new Set(['readEnvironmentVariable'])
const METHODS: ReadonlySet<string> = new Set(['listKeys'])

/** An identifier that stands for a value, and the declaration that gives it. */
export interface Reference {
  readonly node: Node
  readonly name: string
}

/** The names that a part of a template takes from the file: not keys, properties, functions, or a loop's or lambda's own. */
export function referencesIn(part: Node): Reference[] {
  return [...within(part)]
    .filter((node) => node.type === 'identifier' && isValue(node) && !isOwn(node))
    .map((node) => ({ node, name: node.text }))
}

function isValue(node: Node): boolean {
  const { parent } = node
  if (parent === null) return false
  if (parent.type === 'object_property') return parent.namedChildren[0]?.id !== node.id
  if (parent.type === 'call_expression') return parent.childForFieldName('function')?.id !== node.id
  if (parent.type.endsWith('_declaration')) return parent.namedChildren[0]?.id !== node.id
  return parent.type !== 'type' && parent.type !== 'nullable_type'
}

/** Whether a loop or lambda around it, or it itself, gives the name. */
function isOwn(node: Node): boolean {
  for (const parent of above(node)) {
    if (parent.type === 'for_statement' && parent.childForFieldName('initializer')?.text === node.text) return true
    if (parent.type !== 'lambda_expression') continue
    const [parameters] = parent.namedChildren
    if (parameters && [...within(parameters)].some(({ type, text }) => type === 'identifier' && text === node.text)) {
      return true
    }
  }
  return false
}

/** Names and functions that are not there, declarations that nobody uses, and what has no description. */
export function nameFaults(template: Template): string[] {
  const given = new Set(of(template, 'param', 'var', 'resource', 'module').map(({ name }) => name))
  const references = referencesIn(template.root)
  const used = new Set(references.map(({ name }) => name))
  const calls = [...within(template.root)].filter(({ type }) => type === 'call_expression')
  return [
    ...references
      .filter(({ name }) => !given.has(name))
      .map(({ node, name }) => `${place(template, node)}: ${name} is not declared`),
    ...calls.filter((call) => !isKnownCall(call)).map((call) => `${place(template, call)}: unknown ${call.text}`),
    ...of(template, 'param', 'var')
      .filter(({ name }) => !used.has(name))
      .map(({ node, name }) => `${place(template, node)}: ${name} is not used`),
    ...of(template, 'param', 'output')
      .filter(({ decorators }) => !decorators.get('description')?.endsWith('.'))
      .map(({ node, name }) => `${place(template, node)}: ${name} has no description`),
    ...duplicates(template.declarations.filter(({ kind }) => kind !== 'output')),
  ]
}

function isKnownCall(call: Node): boolean {
  const called = call.childForFieldName('function')
  if (called?.type === 'member_expression') return METHODS.has(called.childForFieldName('property')?.text ?? '')
  return [...above(call)].some(({ type }) => type === 'decorator') || FUNCTIONS.has(called?.text ?? '')
}

function duplicates(declarations: readonly Declaration[]): string[] {
  const names = declarations.map(({ name }) => name)
  return names.filter((name, index) => names.indexOf(name) !== index).map((name) => `${name} is declared twice`)
}

/** Modules that are not there, and what is passed to them, or taken from them, and isn't theirs. */
export function moduleFaults(template: Template, others: readonly Template[]): string[] {
  return of(template, 'module').flatMap((declaration) => {
    const at = place(template, declaration.node)
    const path = modulePath(template, declaration)
    const module = others.find(({ file }) => file === path)
    if (module === undefined) return [`${at}: ${path} is not there`]
    const params = of(module, 'param')
    const passed = passedTo(declaration).map(({ name }) => name)
    const outputs = of(module, 'output').map(({ name }) => name)
    return [
      ...passed
        .filter((name) => !params.some((param) => param.name === name))
        .map((name) => `${at}: no parameter ${name}`),
      ...params
        .filter((param) => isRequired(param) && !passed.includes(param.name))
        .map(({ name }) => `${at}: ${name} is not passed`),
      ...outputsTaken(template, declaration)
        .filter((name) => !outputs.includes(name))
        .map((name) => `${at}: no output ${name}`),
    ]
  })
}

/** What a module is given. */
export function passedTo(declaration: Declaration) {
  const params = propertiesOf(bodyOf(declaration)).find(({ name }) => name === 'params')
  return params === undefined ? [] : propertiesOf(params.value)
}

export function isRequired({ node }: Declaration): boolean {
  return node.namedChildren.length < 3
}

function outputsTaken(template: Template, { name }: Declaration): string[] {
  return [...template.text.matchAll(new RegExp(`\\b${name}!?\\.outputs\\.(\\w+)`, 'g'))].map(
    ([, output = '']) => output,
  )
}

/** Parameters that the file sets and the template doesn't have, and those that it doesn't set and must. */
export function parameterFileFaults(file: Template, main: Template): string[] {
  const params = of(main, 'param')
  const set = of(file, 'var').map(({ name }) => name)
  const calls = [...within(file.root)].filter(({ type }) => type === 'call_expression')
  return [
    ...set.filter((name) => !params.some((param) => param.name === name)).map((name) => `no parameter ${name}`),
    ...params.filter((param) => isRequired(param) && !set.includes(param.name)).map(({ name }) => `${name} is not set`),
    ...calls
      .filter((call) => !PARAMETER_FILE_FUNCTIONS.has(call.childForFieldName('function')?.text ?? ''))
      .map((call) => `unknown ${call.text}`),
    ...params
      .filter(({ name, decorators }) => decorators.has('secure') && set.includes(name))
      .filter(({ name }) => !new RegExp(`^param ${name} = readEnvironmentVariable\\(`, 'm').test(file.text))
      .map(({ name }) => `${name} stands in the file`),
  ]
}
