/** A route template of Azure Functions: `users/{id}`, `{x?}`, `{x:int}`, `{*rest}`. */
export interface RouteTemplate {
  /** The path's parameters, decoded; `undefined` where the path doesn't fit. The path has no leading slash. */
  match(path: string): Readonly<Record<string, string>> | undefined
  /** Orders templates: what is more specific comes first. */
  readonly rank: string
}

type Segment =
  | { readonly kind: 'literal'; readonly text: string }
  | {
      readonly kind: 'parameter'
      readonly name: string
      readonly pattern: RegExp | undefined
      readonly optional: boolean
    }
  | { readonly kind: 'rest'; readonly name: string }

const CONSTRAINTS: Readonly<Record<string, RegExp>> = {
  int: /^-?\d+$/,
  long: /^-?\d+$/,
  bool: /^(?:true|false)$/i,
  alpha: /^[a-z]+$/i,
  guid: /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i,
}

/** @throws for a form that this host doesn't support, naming it: a route that silently never matched would be worse. */
export function routeTemplate(template: string): RouteTemplate {
  const segments = template
    .split('/')
    .filter((part) => part !== '')
    .map((part) => parseSegment(part, template))
  return { match: (path) => matchSegments(segments, path), rank: segments.map(rankOf).join('') }
}

function parseSegment(part: string, template: string): Segment {
  if (!/[{}]/.test(part)) return { kind: 'literal', text: part.toLowerCase() }
  const [, star, name, constraint, optional] = /^\{(\*?)(\w+)(?::(\w+))?(\?)?\}$/.exec(part) ?? []
  const pattern = constraint === undefined ? undefined : CONSTRAINTS[constraint]
  if (name === undefined || (constraint !== undefined && pattern === undefined)) {
    throw new Error(`The local host doesn't support '${part}' in the route '${template}'`)
  }
  if (star === '*') return { kind: 'rest', name }
  return { kind: 'parameter', name, pattern, optional: optional === '?' }
}

function matchSegments(segments: readonly Segment[], path: string): Record<string, string> | undefined {
  const parts = path
    .split('/')
    .filter((part) => part !== '')
    .map(decode)
  if (parts.includes(undefined)) return undefined
  const params: Record<string, string> = {}
  for (const [index, segment] of segments.entries()) {
    const part = parts[index]
    if (segment.kind === 'rest') {
      const rest = parts.slice(index).join('/')
      return rest === '' ? params : { ...params, [segment.name]: rest }
    }
    if (segment.kind === 'literal') {
      if (part?.toLowerCase() !== segment.text) return undefined
    } else if (part === undefined) {
      if (!segment.optional) return undefined
    } else {
      if (segment.pattern !== undefined && !segment.pattern.test(part)) return undefined
      params[segment.name] = part
    }
  }
  return parts.length > segments.length ? undefined : params
}

function decode(part: string): string | undefined {
  try {
    return decodeURIComponent(part)
  } catch {
    return undefined
  }
}

function rankOf(segment: Segment): string {
  if (segment.kind === 'literal') return '0'
  if (segment.kind === 'rest') return '9'
  return segment.pattern === undefined ? '2' : '1'
}
