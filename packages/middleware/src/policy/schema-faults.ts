import * as z from 'zod'
import type { TargetKind } from '../targets/index.ts'
import { pathText } from './document.ts'
import { closestName, listText } from './names.ts'

/** An example of each field, for the fault that it is missing or of another kind. */
const EXAMPLES: Readonly<Record<string, string>> = {
  plans: '{default: {limits: [{requests: 10, per: 1m}]}}',
  limits: '[{requests: 10, per: 1m}], or [] for none',
  shared: '{limits: [{requests: 100, per: 1m}]}',
  global: '{limits: [{requests: 1000, per: 1s}]}',
  models: '{default: {price: {input: 0.15, output: 0.60}}}',
  targets: '[{openai: {model: gpt-4o-mini}}]',
  alias: 'chat',
  split: '{chat: 90, lambda: 10}',
  route: '{small: mini, large: chat, rules: [{tokens: 2000}]}',
  rules: '[{tokens: 2000}]',
  header: '{name: x-size, value: large}',
  zones: '[eu]',
  endpoint: '{env: OPENAI_ENDPOINT}',
  deployment: 'gpt-4o-mini',
  env: 'OPENAI_API_KEY',
  price: '{input: 0.15, output: 0.60}',
  input: '0.15, the dollars per million tokens',
  output: '0.60, the dollars per million tokens',
  transforms: '{minifyJson: true}',
  identity: '{issuers: [{name: corp, entra: {tenant: …, audience: …}, roles: {Tollgate.Pro: pro}}]}',
  issuers: '[{name: corp, entra: {tenant: …, audience: …}, roles: {Tollgate.Pro: pro}}]',
  roles: '{Tollgate.Pro: pro}',
  groups: '{cost-centre: {claim: extension_costCentre, limits: [{usd: 500, per: month}]}}',
}

function exampleOf(
  { kinds }: Checked,
  path: readonly PropertyKey[],
  schema: z.core.$ZodType | undefined,
): string | undefined {
  // The names of routes are those of the surfaces that there are.
  if (path[0] === 'routes' && path.length === 2) return '{model: default}'
  if (path[0] === 'routes' && path.length === 1) return `{${fieldsOf(schema)?.[0]}: {model: default}}`
  const kind = kinds.find(({ name, document }) => name === path.at(-1) && document === schema)
  return kind?.example ?? EXAMPLES[String(path.at(-1))]
}

/** What people call fields that have another name here. */
const OTHER_WORDS: Readonly<Record<string, string>> = {
  rpm: 'requests',
  rps: 'requests',
  calls: 'requests',
  tpm: 'tokens',
  dollars: 'usd',
  money: 'usd',
  cost: 'usd',
  budget: 'usd',
  spend: 'usd',
  parallel: 'concurrent',
  inflight: 'concurrent',
  in_flight: 'concurrent',
  period: 'per',
  window: 'per',
  interval: 'per',
  every: 'per',
  url: 'baseUrl',
  base: 'baseUrl',
  name: 'model',
  apikey: 'key',
  api_key: 'key',
  prompt: 'input',
  in: 'input',
  out: 'output',
  completion: 'output',
  context: 'contextWindow',
  expires: 'ttl',
  default: 'plans',
}

/**
 * What the schema found wrong, each with its path, what was meant, what is allowed, and the fix. A field that is missing
 * because its name is misspelt is told once, by the misspelt one.
 *
 * @param root the schema of the whole document
 * @param kinds that a target may be of
 */
export function schemaFaults(
  root: z.core.$ZodType,
  issues: readonly z.core.$ZodIssue[],
  document: unknown,
  kinds: readonly TargetKind[],
): readonly string[] {
  const faults = issues.flatMap((issue) => faultsOf({ root, document, kinds }, issue, issue.path))
  const meant = new Set(faults.map(({ meant }) => meant))
  return faults.filter(({ missing }) => missing === undefined || !meant.has(missing)).map(({ text }) => text)
}

interface Fault {
  readonly text: string
  /** The path that is missing, where that is the fault. */
  readonly missing?: string | undefined
  /** The path that was meant by a misspelt one. */
  readonly meant?: string | undefined
}

interface Checked {
  readonly root: z.core.$ZodType
  readonly document: unknown
  readonly kinds: readonly TargetKind[]
}

function faultsOf(checked: Checked, issue: z.core.$ZodIssue, path: readonly PropertyKey[]): Fault[] {
  const { schema, value } = schemaAt(checked.root, path, checked.document)
  const at = pathText(path) || 'the document'
  if (issue.code === 'unrecognized_keys') {
    const own = ownKinds(schema, value)
    if (own.length > 1) return [severalKinds(at, own)]
    return issue.keys.map((key) => unknownField(checked.root, path, key, fieldsOf(schema) ?? []))
  }
  if (issue.code === 'invalid_key')
    return [{ text: `${at}: a name ${issue.issues[0]?.message ?? 'is wrong'}. Rename it.` }]
  const own = issue.message.startsWith('must ') ? issue.message : undefined
  if (value === undefined && path.length > 0) {
    const example = exampleOf(checked, path, schema)
    const write =
      example === undefined
        ? `It ${own ?? wanted(checked, schema, path)}.`
        : `Write for instance ${pathText(path.slice(-1))}: ${example}.`
    return [{ text: `${at}: missing. ${write}`, missing: at }]
  }
  if (issue.code === 'invalid_union') return unionFaults(checked, issue, path)
  const rule = own ?? wanted(checked, schema, path)
  // Such a rule says its own fix.
  if (rule.includes('. ')) return [{ text: `${at}: ${rule}` }]
  return [{ text: `${at}: ${rule}${given(path, value)}.${fix(schema, path, value, rule)}` }]
}

/**
 * A union's faults, told for the branch that the author most likely meant: of those of the value's kind, the one that
 * knows most of its fields, then the one with the fewest faults. Where the value is of no branch's kind, the union's own
 * message says what would be.
 */
function unionFaults(checked: Checked, issue: z.core.$ZodIssueInvalidUnion, path: readonly PropertyKey[]): Fault[] {
  const at = pathText(path)
  const { schema, value } = schemaAt(checked.root, path, checked.document)
  const kinds = kindsOf(schema)
  // A union that is still one has no map of the value's kind.
  if (kinds !== undefined && isMap(value)) {
    const fields = Object.keys(value)
    const own = ownKinds(schema, value)
    if (own.length > 1) return [severalKinds(at, own)]
    const [field, meant] = fields.map((name) => [name, meantField(name, kinds)] as const).find(([, kind]) => kind) ?? []
    const hint = field === undefined ? '' : ` Did you mean '${meant}' by '${shown(field)}'?`
    return [{ text: `${at}: needs one of ${listText(kinds, 'or')}.${hint} It ${issue.message}.` }]
  }
  const [meant] = issue.errors
    .filter((branch) => !branch.some(isWrongKind) && (!isMap(value) || knowsKind(branch, schema)))
    .toSorted((a, b) => unknownFields(a) - unknownFields(b) || a.length - b.length)
  if (meant !== undefined) return meant.flatMap((each) => faultsOf(checked, each, [...path, ...each.path]))
  return [{ text: `${at}: ${issue.message}${given(path, value)}.${fix(schema, path, value, issue.message)}` }]
}

/** The kinds of a union that a map has the fields of: of a limit's, `requests` and `concurrent`. */
function ownKinds(schema: z.core.$ZodType | undefined, value: unknown): readonly string[] {
  return isMap(value) ? (kindsOf(schema) ?? []).filter((kind) => Object.hasOwn(value, kind)) : []
}

function severalKinds(at: string, kinds: readonly string[]): Fault {
  return { text: `${at}: has ${listText(kinds)}, and each is one of its own. Write one entry for each.` }
}

/** Whether a branch's faults are of the map that `schemaAt` has chosen: none of its own first field is missing. */
function knowsKind(branch: readonly z.core.$ZodIssue[], schema: z.core.$ZodType | undefined): boolean {
  const [first] = fieldsOf(schema) ?? []
  const unknown = branch.flatMap((issue) =>
    issue.code === 'unrecognized_keys' && issue.path.length === 0 ? issue.keys : [],
  )
  return first === undefined || !unknown.includes(first)
}

function isWrongKind({ path, code }: z.core.$ZodIssue): boolean {
  return path.length === 0 && code !== 'unrecognized_keys'
}

function unknownFields(branch: readonly z.core.$ZodIssue[]): number {
  return branch.reduce(
    (count, issue) =>
      issue.code === 'unrecognized_keys' && issue.path.length === 0 ? count + issue.keys.length : count,
    0,
  )
}

function unknownField(
  root: z.core.$ZodType,
  path: readonly PropertyKey[],
  key: string,
  known: readonly string[],
): Fault {
  const meant = meantField(key, known)
  // What stands where a variable's name belongs may be the secret itself.
  if (path.at(-1) === 'key' && meant === undefined) {
    return { text: `${pathText(path)}: unknown field. Write {env: NAME}, and nothing beside it.` }
  }
  const owner = path.length === 0 ? 'The document' : pathText(path)
  const hint = meant === undefined ? homeOf(root, key, path) : `Did you mean '${meant}'?`
  return {
    text: `${pathText([...path, key])}: unknown field. ${hint} ${owner} takes ${listText(known)}.`,
    meant: meant === undefined ? undefined : pathText([...path, meant]),
  }
}

function homeOf(root: z.core.$ZodType, key: string, path: readonly PropertyKey[]): string {
  if (/^\d+$/.test(key)) return 'A comma ends a value: write a number without separators.'
  const homes = homesOf(root).get(key)
  const list = typeof path.at(-1) === 'number' ? `${String(path.at(-2))}[…]` : undefined
  if (list !== undefined && homes?.some((home) => home.endsWith(list))) {
    return 'It belongs to entries of another kind. Remove it.'
  }
  if (homes === undefined) return 'Remove it, or correct its name.'
  const places = homes.map((home) => (home === '' ? 'at the top of the document' : `under ${home}`))
  return `It belongs ${listText(places, 'or')}.`
}

function meantField(key: string, known: readonly string[]): string | undefined {
  const other = OTHER_WORDS[key.toLowerCase()]
  if (other !== undefined && known.includes(other)) return other
  return closestName(key, known) ?? known.find((name) => isBeginning(key, name) || isBeginning(name, key))
}

function isBeginning(text: string, of: string): boolean {
  return text.length >= 4 && of.toLowerCase().startsWith(text.toLowerCase())
}

/** What a place takes, as the end of a sentence: `must be a whole number from 1 to 16`. */
function wanted(checked: Checked, schema: z.core.$ZodType | undefined, path: readonly PropertyKey[]): string {
  const example = exampleOf(checked, path, schema)
  const such = example === undefined ? '' : `, such as ${example}`
  if (schema instanceof z.ZodNumber) {
    const kind = schema.isInt ? 'a whole number' : 'a number'
    return `must be ${kind} from ${numberText(schema.minValue)} to ${numberText(schema.maxValue)}`
  }
  if (schema instanceof z.ZodBoolean) return 'must be true or false'
  if (schema instanceof z.ZodEnum) return `must be ${listText(schema.options.map(String), 'or')}`
  if (schema instanceof z.ZodString) {
    const { minLength, maxLength } = schema
    return typeof maxLength === 'number'
      ? `must be text of ${minLength ?? 0} to ${maxLength} characters`
      : 'must be text'
  }
  if (schema instanceof z.ZodArray) {
    const { minimum, maximum } = lengths(schema)
    return `must be a list of ${minimum} to ${maximum} entries${such}`
  }
  if (schema instanceof z.ZodRecord) return `must be a map of names${such}`
  const fields = fieldsOf(schema)
  return fields === undefined ? `must be of another kind${such}` : `must be a map with ${listText(fields)}${such}`
}

function lengths(schema: z.ZodArray): { minimum: number; maximum: number | string } {
  const { minItems = 0, maxItems = 'any' } = z.toJSONSchema(schema)
  return { minimum: minItems, maximum: maxItems }
}

function numberText(value: number | null): string {
  return value === null ? 'any' : value.toLocaleString('en-US', { maximumFractionDigits: 9 })
}

/** What stands there instead. Where a secret could have been written by mistake, its kind and no more. */
function given(path: readonly PropertyKey[], value: unknown): string {
  if (value === null) return ', and it is empty'
  if (Array.isArray(value))
    return Array.isArray(value) && value.length > 0 ? `, not a list of ${value.length}` : ', not an empty list'
  if (isMap(value)) return ', not a map'
  if (typeof value === 'string') return isSecretive(path) ? '' : `, not ${JSON.stringify(shown(value))}`
  return `, not ${String(value)}`
}

function isSecretive(path: readonly PropertyKey[]): boolean {
  return path.includes('targets')
}

/** Of a long or odd text its beginning. */
function shown(text: string): string {
  const plain = text.replace(/[^\x20-\x7e]/g, '?')
  if (/^(?:sk|tg)[-_]/.test(plain)) return `${plain.slice(0, 3)}…`
  return plain.length > 40 ? `${plain.slice(0, 40)}…` : plain
}

/** The fix, where the value tells which. */
function fix(schema: z.core.$ZodType | undefined, path: readonly PropertyKey[], value: unknown, rule: string): string {
  if (value === null) return ' Give it a value, or remove it.'
  if (schema instanceof z.ZodNumber && typeof value === 'string') {
    if (/^\s*-?\d+(?:\.\d+)?\s*$/.test(value)) return ` Leave the quotes out: ${value.trim()}.`
    if (/^[\d.,_' ]+(?:[kKmM]|\s*[A-Za-z$€£%]+)?$|^[$€£]/.test(value))
      return ' Write digits alone, without separators, units or signs.'
    return ''
  }
  if (schema instanceof z.ZodBoolean) {
    const word = String(value).toLowerCase()
    if (/^(?:true|yes|on|1|y)$/.test(word)) return ' Write true.'
    return /^(?:false|no|off|0|n)$/.test(word) ? ' Write false.' : ''
  }
  if (schema instanceof z.ZodArray && isMap(value)) return ' Put it in brackets, or let each entry begin with a dash.'
  if (schema instanceof z.ZodArray && Array.isArray(value))
    return value.length === 0 ? ' Add one, or remove it.' : ' Remove some.'
  if (path.at(-1) === 'per' || path.at(-1) === 'ttl') return period(rule, value)
  if (schema instanceof z.ZodEnum && typeof value === 'string') {
    const meant = closestName(value, schema.options.map(String))
    return meant === undefined ? '' : ` Did you mean ${meant}?`
  }
  return ''
}

const UNIT_WORDS = {
  s: ['s', 'sec', 'secs', 'second', 'seconds'],
  m: ['m', 'min', 'mins', 'minute', 'minutes'],
  h: ['h', 'hr', 'hrs', 'hour', 'hours'],
  d: ['d', 'day', 'days'],
  w: ['w', 'week', 'weeks', 'weekly'],
  M: ['mo', 'month', 'months', 'monthly'],
} as const
const WINDOWS = [
  ['minute', 'm', /^(?:1m|60s)$/],
  ['hour', 'h', /^(?:1h|60m|3600s)$/],
  ['day', 'd', /^(?:1d|24h)$/],
  ['month', 'M', /^(?:1M|28d|30d|31d|4w)$/],
] as const

/** What was meant by `1min`, `1 month`, `60` or `daily`, of what the rule allows. */
function period(rule: string, value: unknown): string {
  const [, count = '', word = ''] = /^\s*(?:per |every )?(\d{0,6})\s*([a-zA-Z]*)\s*$/.exec(String(value)) ?? []
  const [takesDurations, takesWindows] = [rule.includes('duration'), rule.includes('month')]
  const times = count === '' ? 1 : Number(count)
  if (times === 0) return ''
  if (word === '') {
    return count === '' || !takesDurations ? '' : ` A number needs its unit: ${times}s for seconds.`
  }
  const unit = word === 'M' ? 'M' : unitOf(word.toLowerCase().replace(/ly$/, '').replace(/^dai$/, 'day'))
  if (unit === undefined) return ''
  const window = WINDOWS.find(([, , same]) => same.test(`${times}${unit}`))?.[0]
  const asWord = takesWindows && window !== undefined && (count === '' || unit === 'M' || !takesDurations)
  if (asWord) return ` Did you mean ${window}?`
  if (!takesDurations) return ''
  const days = unit === 'w' ? 7 : unit === 'M' ? 30 : undefined
  return ` Did you mean ${days === undefined ? `${times}${unit}` : `${times * days}d`}?`
}

function unitOf(word: string): string | undefined {
  const exact = Object.entries(UNIT_WORDS).find(([, words]) => words.some((each) => each === word))?.[0]
  const near = () =>
    Object.entries(UNIT_WORDS).find(([, words]) => closestName(word, words.slice(2), 1) !== undefined)?.[0]
  return exact ?? (word.length > 2 ? near() : undefined)
}

/* The schema's places. */

/** A schema without what lets it be absent. */
function innerSchema(schema: z.core.$ZodType): z.core.$ZodType {
  return schema instanceof z.ZodOptional ? innerSchema(schema.unwrap()) : schema
}

/**
 * The schema of a place, and what stands there. Where a union lies on the way, or is the place itself, it is the list, map or number
 * of the union that the value is of by its kind; the union itself where it is of none.
 */
function schemaAt(
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
  if (typeof value === 'number') return options.find((option) => option instanceof z.ZodNumber) ?? schema
  if (!isMap(value)) return schema
  const maps = options.filter((option) => option instanceof z.ZodObject)
  if (maps.length === 1) return maps[0] ?? schema
  const own = maps.filter((option) => Object.hasOwn(value, fieldsOf(option)?.[0] ?? ''))
  return own.length === 1 ? (own[0] ?? schema) : schema
}

function isMap(value: unknown): value is Readonly<Record<string, unknown>> {
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
function fieldsOf(schema: z.core.$ZodType | undefined): readonly string[] | undefined {
  return schema instanceof z.ZodObject ? Object.keys(schema.shape) : undefined
}

/** The maps among which a union chooses by a field that only one of them has: its first, as `requests` of a limit. */
function kindsOf(schema: z.core.$ZodType | undefined): readonly string[] | undefined {
  if (!(schema instanceof z.ZodUnion)) return undefined
  const firsts = schema.options.map((option) => fieldsOf(innerSchema(option))?.[0])
  const kinds = firsts.filter((first) => first !== undefined)
  return kinds.length === firsts.length && new Set(kinds).size > 1 ? kinds : undefined
}

/** The places in which each field may stand, as `plans.<name>`, for the fault that one stands elsewhere. */
function homesOf(schema: z.core.$ZodType): ReadonlyMap<string, readonly string[]> {
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
