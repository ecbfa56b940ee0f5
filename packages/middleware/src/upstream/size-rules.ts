import type { RuledModel, SizeRule } from '../policy/index.ts'
import type { PromptTraits } from './prompt-traits.ts'

/** One thing that a rule asks of a request. */
export interface Condition {
  /** As answers and logs tell it, in ASCII: `tokens >= 2000`, `no tools`, `header x-tier`. */
  readonly words: string
  holds(traits: PromptTraits): boolean
  /** What the request has in its place, for a person. */
  found(traits: PromptTraits): string
}

/** A rule, ready to be held against requests. */
export interface ReadyRule {
  readonly words: string
  readonly conditions: readonly Condition[]
  readonly use: SizeRule['use']
}

/** The rules of a model, in their order. The same object for the same model. */
export function readyRules(model: RuledModel): readonly ReadyRule[] {
  let rules = known.get(model)
  if (rules === undefined) {
    rules = model.rules.map(readied)
    known.set(model, rules)
  }
  return rules
}

const known = new WeakMap<RuledModel, readonly ReadyRule[]>()

/** The first rule that holds; `undefined` where none does. */
export function firstThatHolds(rules: readonly ReadyRule[], traits: PromptTraits): ReadyRule | undefined {
  return rules.find(({ conditions }) => conditions.every((condition) => condition.holds(traits)))
}

function readied(rule: SizeRule): ReadyRule {
  const conditions = conditionsOf(rule)
  return { words: conditions.map(({ words }) => words).join(' and '), conditions, use: rule.use }
}

/** What is cheap to find stands first. */
function conditionsOf({ tokens, turns, code, tools, schema, header }: SizeRule): Condition[] {
  const conditions: Condition[] = []
  if (header !== undefined) conditions.push(headerCondition(header))
  if (tools !== undefined) conditions.push(whether('tools', tools, (traits) => traits.offersTools()))
  if (schema !== undefined) conditions.push(whether('schema', schema, (traits) => traits.asksForSchema()))
  if (turns !== undefined) conditions.push(atLeast('turns', turns, (traits) => traits.turns()))
  if (tokens !== undefined) conditions.push(atLeast('tokens', tokens, (traits) => traits.tokens()))
  if (code !== undefined) conditions.push(whether('code', code, (traits) => traits.hasCode()))
  return conditions
}

function atLeast(what: string, least: number, count: (traits: PromptTraits) => number): Condition {
  return {
    words: `${what} >= ${least}`,
    holds: (traits) => count(traits) >= least,
    found: (traits) => `${what} = ${count(traits)}`,
  }
}

function whether(what: string, wanted: boolean, has: (traits: PromptTraits) => boolean): Condition {
  const words = (isThere: boolean) => (isThere ? what : `no ${what}`)
  return {
    words: words(wanted),
    holds: (traits) => has(traits) === wanted,
    found: (traits) => words(has(traits)),
  }
}

/** Values that may stand in an answer's header as they are. */
const PLAIN = /^[\w./:-]{1,64}$/

function headerCondition({ name, value }: NonNullable<SizeRule['header']>): Condition {
  const field = name.toLowerCase()
  const wanted = value?.toLowerCase()
  const words = `header ${field}${wanted !== undefined && PLAIN.test(wanted) ? `=${wanted}` : ''}`
  const holds = (sent: string | undefined) => sent !== undefined && (wanted === undefined || sent === wanted)
  return {
    words,
    holds: (traits) => holds(traits.header(field)),
    found(traits) {
      const sent = traits.header(field)
      if (sent === undefined) return `no header ${field}`
      return holds(sent) ? words : `header ${field} of another value`
    },
  }
}
