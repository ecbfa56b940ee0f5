import { of, propertiesOf, type Template, within } from './template.ts'

const OBJECTS = /Settings$/

/** The app settings that a template gives: the properties of every object in a variable or parameter named so. */
export function settingsOf(main: Template, app: Template): string[] {
  const objects = [
    ...of(app, 'var').filter(({ name }) => OBJECTS.test(name)),
    ...of(main, 'param').filter(({ name }) => name === 'bounds'),
  ]
  const names = objects
    .flatMap(({ node }) => [...within(node)])
    .filter(({ type }) => type === 'object')
    .flatMap(propertiesOf)
    .map(({ name }) => name)
  return [...new Set(names)].sort()
}

/** The environment variables that a source reads from an `env` or `process.env` that it is given. */
export function settingsReadBy(source: string): string[] {
  const code = source.replace(/\/\*[\s\S]*?\*\/|\/\/.*/g, '')
  const dotted = [...code.matchAll(/\benv\.([A-Za-z]\w*)/g)].map(([, name = '']) => name)
  const taken = [...code.matchAll(/const \{([^}]*)\} = env\b/g)].flatMap(([, names = '']) =>
    [...names.matchAll(/(\w+)(?::\s*\w+)?\s*(?:,|$)/g)].map(([, name = '']) => name),
  )
  const passed = [...code.matchAll(/\(env, '(\w+)'/g)].map(([, name = '']) => name)
  return [...new Set([...dotted, ...taken, ...passed])].sort()
}
