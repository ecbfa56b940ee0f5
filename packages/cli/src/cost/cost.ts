import { Command, InvalidArgumentError, Option } from 'commander'
import { type Bill, total } from './bill.ts'
import { INPUTS, type InputOption, type Inputs, withDefaults } from './inputs.ts'
import { isPriceName, LIST_RATES, PRICES, type Rates } from './prices.ts'
import { APIM_TIERS, type ApimTier, apiManagement, apisix, bareFunction, tollgate } from './systems.ts'
import { billTable, priceTable, summaryTable } from './table.ts'

/*
 * `npm run cost`: what a month of requests costs behind each gateway, from inputs and prices that a reader can change.
 */

interface Asked extends Partial<Inputs> {
  readonly apimTier: ApimTier
  readonly price: Rates
  readonly lines?: true
  readonly prices?: true
  readonly json?: true
}

const program = new Command('cost').description(
  'What a month costs: bare, behind API Management, behind APISIX, with Tollgate.',
)
for (const input of INPUTS) program.addOption(optionOf(input))
program
  .addOption(new Option('--apim-tier <tier>', 'tier of API Management').choices(APIM_TIERS).default('standard-v2'))
  .addOption(
    new Option('--price <name=usd>', 'a price of yours; --prices shows the names. May be given several times')
      .argParser(withPrice)
      .default(LIST_RATES, 'list prices'),
  )
  .option('--lines', 'show how each amount comes about')
  .option('--prices', 'show the prices, and where each is from')
  .option('--json', 'print one line of JSON')
  .action((asked: Asked) => console.log(asked.json ? JSON.stringify(asJson(asked)) : asText(asked)))
program.parse()

function billsOf(asked: Asked): readonly Bill[] {
  const { price: rates, apimTier } = asked
  const inputs = withDefaults(asked)
  return [
    bareFunction(inputs, rates),
    apiManagement(inputs, rates, apimTier),
    apisix(inputs, rates),
    tollgate(inputs, rates),
  ]
}

function asText(asked: Asked): string {
  const bills = billsOf(asked)
  const parts = [summaryTable(bills)]
  if (asked.lines) parts.push(...bills.map(billTable))
  if (asked.prices) parts.push(priceTable(asked.price))
  return parts.join('\n\n')
}

function asJson(asked: Asked): object {
  const { price, apimTier } = asked
  return {
    currency: 'USD',
    inputs: { ...withDefaults(asked), apimTier },
    prices: Object.entries(PRICES).map(([name, listed]) => ({ name, ...listed, usd: price[name as keyof Rates] })),
    bills: billsOf(asked).map((bill) => ({ ...bill, usd: total(bill) })),
  }
}

function optionOf({ key, fallback, what, least = 0, most = Number.MAX_SAFE_INTEGER }: InputOption): Option {
  const read = (text: string) => {
    const value = text.trim() === '' ? Number.NaN : Number(text)
    if (!(value >= least && value <= most)) {
      throw new InvalidArgumentError(
        most === Number.MAX_SAFE_INTEGER ? `A number from ${least}.` : `A number from ${least} to ${most}.`,
      )
    }
    return value
  }
  const told = typeof fallback === 'number' ? `${what} (${fallback})` : `${what} (as --${flagOf(fallback)})`
  return new Option(`--${flagOf(key)} <number>`, told).argParser(read)
}

function flagOf(key: keyof Inputs): string {
  return key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)
}

function withPrice(text: string, rates: Rates): Rates {
  const [name = '', amount = ''] = text.split('=')
  const usd = amount.trim() === '' ? Number.NaN : Number(amount)
  if (!isPriceName(name))
    throw new InvalidArgumentError(`There is no such price. Names: ${Object.keys(PRICES).join(', ')}.`)
  if (!(usd >= 0 && usd < Infinity)) throw new InvalidArgumentError(`The price of ${name} must be US dollars, from 0.`)
  return { ...rates, [name]: usd }
}
