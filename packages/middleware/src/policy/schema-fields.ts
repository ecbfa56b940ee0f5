import * as z from 'zod'
import { pathText } from './document-path.ts'

/** A schema without what lets it be absent. */
export function innerSchema(schema: z.core.$ZodType): z.core.$ZodType {
  return schema instanceof z.ZodOptional ? innerSchema(schema.unwrap()) : schema
}

/**
 * The schema of a place, and what stands there. Where a union lies on the way, or is the place itself, it is the list or map of
 * the union that the value is of by its kind; the union itself where it is of none.
 */
export function schemaAt(
  schema: z.core.$ZodType,
  path: readonly PropertyKey[],
  value: unknown,
): { readonly schema: z.core.$ZodType | undefined; readonly value: unknown } {
  let at: z.core.$ZodType | undefined = chosen(innerSchema(schema), value)
  let here = value
  for (const part of path) {
    here = valueBelow(here, part)
    at = at && schemaBelow(at, part)
    at = at && chosen(at, here)
  }
  return { schema: at, value: here }
}

function valueBelow(value: unknown, part: PropertyKey): unknown {
  if (typeof value !== 'object' || value === null || !Object.hasOwn(value, part)) return undefined
  return (value as Readonly<Record<PropertyKey, unknown>>)[part]
}

function chosen(schema: z.core.$ZodType, value: unknown): z.core.$ZodType {
  if (!(schema instanceof z.ZodUnion)) return schema
  const options = schema.options.map(innerSchema)
  if (Array.isArray(value)) return options.find((option) => option instanceof z.ZodArray) ?? schema
  if (!isMap(value)) return schema
  const maps = options.filter((option) => option instanceof z.ZodObject)
  if (maps.length === 1) return maps[0] ?? schema
  const own = maps.filter((option) => Object.hasOwn(value, fieldsOf(option)?.[0] ?? ''))
  return own.length === 1 ? (own[0] ?? schema) : schema
}

export function isMap(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function schemaBelow(schema: z.core.$ZodType, part: PropertyKey): z.core.$ZodType | undefined {
  if (schema instanceof z.ZodObject) {
    const [, field] = Object.entries<z.core.$ZodType>(schema.shape).find(([name]) => name === part) ?? []
    return field && innerSchema(field)
  }
  if (schema instanceof z.ZodRecord) return innerSchema(schema.valueType)
  return schema instanceof z.ZodArray ? innerSchema(schema.element) : undefined
}

/** The names of a map's fields; `undefined` for what is no map of fields. */
export function fieldsOf(schema: z.core.$ZodType | undefined): readonly string[] | undefined {
  return schema instanceof z.ZodObject ? Object.keys(schema.shape) : undefined
}

/** The maps among which a union chooses by a field that only one of them has: its first, as `requests` of a limit. */
export function kindsOf(schema: z.core.$ZodType | undefined): readonly string[] | undefined {
  if (!(schema instanceof z.ZodUnion)) return undefined
  const firsts = schema.options.map((option) => fieldsOf(innerSchema(option))?.[0])
  const kinds = firsts.filter((first) => first !== undefined)
  return kinds.length === firsts.length && new Set(kinds).size > 1 ? kinds : undefined
}

/** The places in which each field may stand, as `plans.<name>`, for the fault that one stands elsewhere. */
export function homesOf(schema: z.core.$ZodType): ReadonlyMap<string, readonly string[]> {
  const homes = new Map<string, string[]>()
  function visit(each: z.core.$ZodType, path: readonly PropertyKey[]): void {
    const at = innerSchema(each)
    if (at instanceof z.ZodRecord) visit(at.valueType, [...path, '<name>'])
    if (at instanceof z.ZodArray) visit(at.element, [...path, '<n>'])
    if (at instanceof z.ZodUnion) for (const option of at.options) visit(option, path)
    if (!(at instanceof z.ZodObject)) return
    const home = pathText(path).replaceAll('.<n>', '[…]')
    for (const [field, inner] of Object.entries<z.core.$ZodType>(at.shape)) {
      const known = homes.get(field) ?? []
      if (!known.includes(home)) homes.set(field, [...known, home])
      visit(inner, [...path, field])
    }
  }
  visit(schema, [])
  return homes
}
