/** An exact number: a numerator over a denominator above 0. */
export interface Fraction {
  readonly over: bigint
  readonly under: bigint
}

export const ZERO: Fraction = { over: 0n, under: 1n }

/** @throws RangeError when the text is no decimal number such as `0.125` */
export function decimal(text: string): Fraction {
  const [, whole, part = ''] = /^(\d+)(?:\.(\d+))?$/.exec(text) ?? []
  if (whole === undefined) throw new RangeError(`'${text}' is no decimal number`)
  return { over: BigInt(whole + part), under: 10n ** BigInt(part.length) }
}

/** @throws RangeError when the number is none that is whole */
export function whole(value: number): Fraction {
  return { over: BigInt(value), under: 1n }
}

export function plus(a: Fraction, b: Fraction): Fraction {
  return { over: a.over * b.under + b.over * a.under, under: a.under * b.under }
}

export function times(a: Fraction, b: Fraction): Fraction {
  return { over: a.over * b.over, under: a.under * b.under }
}

export function dividedBy(a: Fraction, b: Fraction): Fraction {
  return { over: a.over * b.under, under: a.under * b.over }
}

export function isLess(a: Fraction, b: Fraction): boolean {
  return a.over * b.under < b.over * a.under
}

export function isSame(a: Fraction, b: Fraction): boolean {
  return a.over * b.under === b.over * a.under
}

/** The least whole number that is not below it. Of no number below 0. */
export function ceiling({ over, under }: Fraction): bigint {
  return (over + under - 1n) / under
}

/** As a decimal number, if it is one; `undefined` for a third. */
export function decimalText({ over, under }: Fraction): string | undefined {
  for (let digits = 0; digits <= 30; digits += 1) {
    const scaled = over * 10n ** BigInt(digits)
    if (scaled % under !== 0n) continue
    const text = (scaled / under).toString().padStart(digits + 1, '0')
    return digits === 0 ? text : `${text.slice(0, -digits)}.${text.slice(-digits)}`
  }
  return undefined
}
