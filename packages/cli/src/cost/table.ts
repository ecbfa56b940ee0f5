import { type Bill, total } from './bill.ts'
import { PRICES, type Rates } from './prices.ts'

const USD = new Intl.NumberFormat('en-US', { minimumFractionDigits: 2, maximumFractionDigits: 2 })
const COUNT = new Intl.NumberFormat('en-US', { maximumSignificantDigits: 6 })

export function summaryTable(bills: readonly Bill[]): string {
  const rows = bills.map((bill) => [
    bill.system,
    ...(['model', 'function', 'gateway', undefined] as const).map((payee) => USD.format(total(bill, payee))),
  ])
  return columns([['US dollars a month', 'model', 'function', 'gateway', 'all'], ...rows])
}

/** Each line of a bill with how it comes about. */
export function billTable(bill: Bill): string {
  const rows = bill.lines.map(({ payee, item, formula, usd }) => [`${payee}: ${item}`, amount(usd), formula])
  return columns([[bill.system, USD.format(total(bill)), ''], ...rows])
}

export function priceTable(rates: Rates): string {
  const rows = Object.entries(PRICES).map(([name, { per, region, source, read, usd }]) => {
    const rate = rates[name as keyof Rates]
    const told = rate === usd ? (read ?? 'not checked') : 'yours'
    return [name, COUNT.format(rate), `per ${per}`, region, told, source]
  })
  return columns([['price', 'US dollars', '', 'region', 'read', 'check it at'], ...rows])
}

/** A line of less than a cent is not nothing. */
function amount(usd: number): string {
  return usd > 0 && usd < 0.005 ? '< 0.01' : USD.format(usd)
}

const NUMBER = /^(?:< )?[\d,.]+$/

function columns(rows: readonly (readonly string[])[]): string {
  const widths = rows[0]?.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0))) ?? []
  const cell = (text: string, column: number, row: number) => {
    const width = widths[column] ?? 0
    const right = NUMBER.test(text) || (row === 0 && NUMBER.test(rows[1]?.[column] ?? ''))
    return right ? text.padStart(width) : text.padEnd(width)
  }
  return rows
    .map((row, index) =>
      row
        .map((text, column) => cell(text, column, index))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}
