const NANO_DOLLARS = 1e9

/** Nano-dollars as US dollars, in decimals, exactly. @example dollarsText(1_500_000) === '0.0015' */
export function dollarsText(nanoUsd: number): string {
  const decimals = String(nanoUsd % NANO_DOLLARS)
    .padStart(9, '0')
    .replace(/0+$/, '')
  return `${Math.floor(nanoUsd / NANO_DOLLARS)}${decimals === '' ? '' : `.${decimals}`}`
}
