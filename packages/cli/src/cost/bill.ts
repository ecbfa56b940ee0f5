/** What a line pays for: the model's tokens, the function that calls it, or what stands around that. */
export type Payee = 'model' | 'function' | 'gateway'

export interface Line {
  readonly payee: Payee
  readonly item: string
  /** How the amount comes about, in numbers. */
  readonly formula: string
  readonly usd: number
}

export interface Bill {
  readonly system: string
  readonly lines: readonly Line[]
}

export function total({ lines }: Bill, payee?: Payee): number {
  return lines.filter((line) => payee === undefined || line.payee === payee).reduce((sum, { usd }) => sum + usd, 0)
}

/** A product and its text: each factor is a number with its unit. */
export function product(payee: Payee, item: string, ...factors: readonly Factor[]): Line {
  const usd = factors.reduce((sum, [value]) => sum * value, 1)
  return { payee, item, formula: factors.map(factorText).join(' × '), usd }
}

/** A value, and how it reads: `%` in the text stands for the number. */
export type Factor = readonly [value: number, text: string, shown?: number]

function factorText([value, text, shown = value]: Factor): string {
  return text.replace('%', NUMBER.format(shown))
}

const NUMBER = new Intl.NumberFormat('en-US', { maximumSignificantDigits: 6 })
