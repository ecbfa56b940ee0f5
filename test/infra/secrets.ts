import type { Node } from 'web-tree-sitter'
import { passedTo, referencesIn } from './names.ts'
import { above, type Declaration, modulePath, of, place, propertiesOf, type Template, within } from './template.ts'

/**
 * Where a secret, which is what a `@secure()` parameter or a `list…` function gives, goes anywhere but into the value of
 * a vault's secret or a module's `@secure()` parameter. Asking whether one is empty tells nothing of it.
 */
export function secretFaults(template: Template, others: readonly Template[]): string[] {
  const secret = secretNames(template)
  return template.declarations
    .filter(({ kind }) => kind !== 'param' && kind !== 'var')
    .flatMap((declaration) =>
      secretsIn(declaration.node, secret)
        .filter((node) => !isKept(node, declaration, template, others))
        .map((node) => `${place(template, node)}: ${node.text} in ${declaration.kind} ${declaration.name}`),
    )
}

/** Parameters that are secure, and what variables make of them. */
function secretNames(template: Template): ReadonlySet<string> {
  const names = new Set(
    of(template, 'param').flatMap(({ name, decorators }) => (decorators.has('secure') ? [name] : [])),
  )
  // A variable may be made of a later one, so until nothing is found any more.
  for (let size = -1; size !== names.size; ) {
    size = names.size
    for (const { name, node } of of(template, 'var')) if (secretsIn(node, names).length > 0) names.add(name)
  }
  return names
}

function secretsIn(part: Node, names: ReadonlySet<string>): Node[] {
  const references = referencesIn(part).filter(({ node, name }) => names.has(name) && !isAskedIfEmpty(node))
  return [...references.map(({ node }) => node), ...[...within(part)].filter(isList)]
}

function isList(node: Node): boolean {
  if (node.type !== 'call_expression') return false
  const called = node.childForFieldName('function')
  const name = called?.type === 'member_expression' ? called.childForFieldName('property')?.text : called?.text
  return /^list[A-Z]/.test(name ?? '')
}

function isAskedIfEmpty({ parent }: Node): boolean {
  return parent?.type === 'arguments' && parent.parent?.childForFieldName('function')?.text === 'empty'
}

function isKept(node: Node, declaration: Declaration, template: Template, others: readonly Template[]): boolean {
  const around = new Set([...above(node)].map(({ id }) => id))
  const holds = ({ key }: { readonly key: Node }) => key.parent !== null && around.has(key.parent.id)
  if (declaration.kind === 'resource' && declaration.target?.startsWith('Microsoft.KeyVault/vaults/secrets@')) {
    const values = [...within(declaration.node)]
      .filter(({ type }) => type === 'object')
      .flatMap(propertiesOf)
      .filter(({ name }) => name === 'value')
    return values.some(holds)
  }
  if (declaration.kind !== 'module') return false
  const path = modulePath(template, declaration)
  const module = others.find(({ file }) => file === path)
  const secure = of(module ?? template, 'param').filter(({ decorators }) => decorators.has('secure'))
  return passedTo(declaration).some((passed) => secure.some(({ name }) => name === passed.name) && holds(passed))
}
