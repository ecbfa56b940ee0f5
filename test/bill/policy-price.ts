import { decimal, decimalText, dividedBy, isSame, times } from './fraction.ts'
import { KINDS, type ModelSheet, type Rates } from './sheet.ts'

/** A price in the policy's grammar: `models.<name>.price`. */
export interface Price {
  readonly [kind: string]: unknown
  readonly input: number
  readonly output: number
}

/**
 * What a price sheet says, in the policy's grammar: USD per million tokens, and factors.
 *
 * @throws RangeError where the grammar can't say it exactly
 */
export function policyPrice(sheet: ModelSheet): Price {
  const { short, long } = sheet.tiers.default ?? { short: { input: '0', output: '0' } }
  const price: Record<string, unknown> = {}
  for (const kind of KINDS) if (short[kind] !== undefined) price[kind] = numberOf(short[kind])
  if (sheet.above !== undefined) {
    if (long === undefined) throw new RangeError('A sheet with a threshold has long rates')
    price.above = {
      tokens: sheet.above,
      input: `${factor(short, long, 'input')}x`,
      output: `${factor(short, long, 'output')}x`,
    }
  }
  const tiers = Object.entries(sheet.tiers).filter(([tier]) => tier !== 'default')
  if (tiers.length > 0) {
    price.tiers = Object.fromEntries(
      tiers.map(([tier, rates]) => {
        const pairs: Pair[] = [{ from: short, to: rates.short }]
        if (long !== undefined && rates.long !== undefined) pairs.push({ from: long, to: rates.long })
        return [tier, commonFactor(pairs) ?? ownTable(rates)]
      }),
    )
  }
  if (sheet.above !== undefined && long !== undefined) {
    const by = { input: factor(short, long, 'input'), output: factor(short, long, 'output') }
    for (const kind of KINDS) {
      if (short[kind] !== undefined) expectFactor(short, long, kind, kind.startsWith('output') ? by.output : by.input)
    }
  }
  if (sheet.regional !== undefined) price.zone = numberOf(sheet.regional)
  if (sheet.tools !== undefined) {
    price.tools = Object.fromEntries(
      Object.entries(sheet.tools).map(([tool, { usd, calls }]) => [
        tool,
        numberOf(decimalText(dividedBy(decimal(usd), decimal(String(calls)))) ?? ''),
      ]),
    )
  }
  return price as unknown as Price
}

interface Pair {
  readonly from: Rates
  readonly to: Rates
}

/** What all rates are multiplied by, where that is one number with at most three decimals. */
function commonFactor(pairs: readonly Pair[]): number | undefined {
  const [first] = pairs
  const text = first && decimalText(dividedBy(decimal(first.to.input), decimal(first.from.input)))
  if (text === undefined || text.length > text.indexOf('.') + 4) return undefined
  const isCommon = pairs.every(({ from, to }) =>
    KINDS.every((kind) => isSame(times(decimal(from[kind] ?? '0'), decimal(text)), decimal(to[kind] ?? '0'))),
  )
  return isCommon ? Number(text) : undefined
}

/** A tier's rates as they are, where no factor says them. */
function ownTable({ short, long }: ModelSheet['tiers'][string]): Readonly<Record<string, number>> {
  if (long !== undefined) throw new RangeError('A tier with rates of its own and a long context is not written')
  return Object.fromEntries(KINDS.flatMap((kind) => (short[kind] === undefined ? [] : [[kind, numberOf(short[kind])]])))
}

function factor(from: Rates, to: Rates, kind: 'input' | 'output'): string {
  const text = decimalText(dividedBy(decimal(to[kind]), decimal(from[kind])))
  if (text === undefined) throw new RangeError(`From ${from[kind]} to ${to[kind]} is no decimal factor`)
  return text
}

function expectFactor(from: Rates, to: Rates, kind: (typeof KINDS)[number], by: string): void {
  const expected = times(decimal(from[kind] ?? '0'), decimal(by))
  if (!isSame(expected, decimal(to[kind] ?? '0'))) {
    throw new RangeError(`${kind}: ${to[kind]} is not ${by} times ${from[kind]}`)
  }
}

/** A number that JSON writes with the same digits. */
function numberOf(text: string): number {
  const number = Number(text)
  if (!isSame(decimal(String(number)), decimal(text))) throw new RangeError(`${text} is no exact number`)
  return number
}
