/** An ARM template, as the compiler emits it. */
export interface ArmTemplate {
  readonly languageVersion?: string
  readonly parameters?: Readonly<Record<string, ArmParameter>>
  readonly variables?: Readonly<Record<string, unknown>>
  /** By symbolic name from language version 2.0 on. */
  readonly resources: readonly ArmResource[] | Readonly<Record<string, ArmResource>>
  readonly outputs?: Readonly<Record<string, { readonly type: string; readonly value?: unknown }>>
}

export interface ArmParameter {
  readonly type?: string
  readonly defaultValue?: unknown
}

export interface ArmResource {
  readonly type: string
  readonly apiVersion?: string
  readonly name: string
  readonly scope?: string
  readonly condition?: string
  readonly existing?: boolean
  readonly dependsOn?: readonly string[]
  // biome-ignore lint/suspicious/noExplicitAny: what ARM takes, which has no type here
  readonly properties?: any
}

const SECURE = /^secure(?:string|object)$/i
/** `listKeys(…)` and its like, whether called as a function or on a resource. */
const LIST = /\blist[A-Z]\w*\(/

export function resourcesOf({ resources }: ArmTemplate): ArmResource[] {
  return Object.values(resources)
}

/** The template of a module's deployment. */
export function moduleOf({ type, properties }: ArmResource): ArmTemplate | undefined {
  return type === 'Microsoft.Resources/deployments' ? properties.template : undefined
}

/** A template and the modules that it deploys, by name. */
export function templatesIn(main: ArmTemplate): [string, ArmTemplate][] {
  const modules = Object.entries(main.resources).flatMap(([name, resource]): [string, ArmTemplate][] => {
    const module = moduleOf(resource)
    return module === undefined ? [] : [[name, module]]
  })
  return [['main', main], ...modules]
}

/** Every text in a value, with the names that lead to it. */
export function* textsIn(
  value: unknown,
  path: readonly string[] = [],
): Generator<readonly [readonly string[], string]> {
  if (typeof value === 'string') yield [path, value]
  else if (typeof value === 'object' && value !== null) {
    for (const [name, inner] of Object.entries(value)) yield* textsIn(inner, [...path, name])
  }
}

/** Parameters and variables that hold a secret. */
function secretNames({ parameters = {}, variables = {} }: ArmTemplate): ReadonlySet<string> {
  const names = new Set(Object.keys(parameters).filter((name) => SECURE.test(parameters[name]?.type ?? '')))
  // A variable may be made of another one, so until nothing is found any more.
  for (let size = -1; size !== names.size; ) {
    size = names.size
    for (const [name, value] of Object.entries(variables)) if (holdsSecret(value, names)) names.add(name)
  }
  return names
}

function holdsSecret(value: unknown, names: ReadonlySet<string>): boolean {
  return [...textsIn(value)].some(([, text]) => {
    // Whether one is empty tells nothing of it.
    const asked = text.replace(/empty\((?:parameters|variables)\('\w+'\)\)/g, '')
    const named = [...asked.matchAll(/(?:parameters|variables)\('(\w+)'\)/g)].map(([, name = '']) => name)
    return LIST.test(asked) || named.some((name) => names.has(name))
  })
}

/**
 * Where a secret goes anywhere but into the value of a vault's secret or a module's secure parameter. What is neither
 * is kept with the deployment, for all who may read it.
 */
export function leaksIn(template: ArmTemplate, name: string): string[] {
  const secret = secretNames(template)
  const outputs = Object.entries(template.outputs ?? {})
    .filter(([, { type, value }]) => SECURE.test(type) || holdsSecret(value, secret))
    .map(([output]) => `${name}: output ${output}`)
  const defaults = Object.entries(template.parameters ?? {})
    .filter(
      ([, { type = '', defaultValue = '' }]) => SECURE.test(type) && !['', '[newGuid()]'].includes(`${defaultValue}`),
    )
    .map(([parameter]) => `${name}: the default of ${parameter}`)
  const resources = resourcesOf(template).flatMap((resource) => {
    const module = moduleOf(resource)
    // The module's own template is looked at as one.
    const { template: _, ...properties } = resource.properties ?? {}
    return [...textsIn({ ...resource, properties })]
      .filter(([path, text]) => holdsSecret(text, secret) && !isKept(resource, module, path))
      .map(([path]) => `${name}: ${path.join('.')} of ${resource.type}`)
  })
  return [...outputs, ...defaults, ...resources]
}

function isKept({ type }: ArmResource, module: ArmTemplate | undefined, path: readonly string[]): boolean {
  if (type === 'Microsoft.KeyVault/vaults/secrets') return path.join('.') === 'properties.value'
  const [properties, parameters, name = ''] = path
  return (
    properties === 'properties' && parameters === 'parameters' && SECURE.test(module?.parameters?.[name]?.type ?? '')
  )
}

/** The modules that one waits for, itself included. */
export function waitsFor({ resources }: ArmTemplate, module: string): ReadonlySet<string> {
  const byName = new Map(Object.entries(resources))
  const found = new Set<string>()
  const look = (name: string) => {
    if (found.has(name)) return
    found.add(name)
    for (const other of byName.get(name)?.dependsOn ?? []) look(other)
  }
  look(module)
  return found
}
