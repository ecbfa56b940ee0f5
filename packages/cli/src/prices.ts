import { statSync } from 'node:fs'
import { isAbsolute, join } from 'node:path'
import { BOOK_DATE, BOOK_SOURCE, type OutlinedModel, outlinePolicy, type Price } from '@tollgate/middleware'
import { columns } from './columns.ts'
import type { Place } from './place.ts'

/** Prices that nobody has looked at for longer are told to be old. Providers change theirs a few times a year. */
const OLD_DAYS = 60
const DAY_MS = 86_400_000
const PICO_IN_MILLIONTH = 1e6

/** A model's price as it is shown. */
interface ShownPrice {
  readonly model: string
  readonly price: Price | undefined
  readonly source: string
  /** Whole days since the price, or the file that states it, was changed; `undefined` where there is none. */
  readonly ageDays: number | undefined
}

/** Each model of the policy: what its tokens cost, by whose word, and how old that is. */
export async function showPrices(options: { json?: boolean }, place: Place, now = Date.now()): Promise<string> {
  const { models, source } = outlinePolicy({ root: place.root, path: place.env.TOLLGATE_POLICY || undefined })
  const file = source.file ?? 'the default policy'
  const changed = source.file === undefined ? undefined : changedAt(place.root, source.file)
  const ofBook = Date.parse(BOOK_DATE)
  const shown = [...models.values()].map((model): ShownPrice => {
    const { price } = model.targets[0]
    const { name, priced } = model
    const since = priced?.by === 'book' ? ofBook : price === undefined ? undefined : changed
    const ageDays = since === undefined ? undefined : Math.max(0, Math.floor((now - since) / DAY_MS))
    return { model: name, price, source: sourceText(priced, file), ageDays }
  })
  if (options.json) return JSON.stringify({ book: { date: BOOK_DATE, source: BOOK_SOURCE }, models: shown })
  const table = columns([
    ['MODEL', 'INPUT', 'CACHED', 'OUTPUT', 'AND', 'SOURCE', 'AGE'],
    ...shown.map(({ model, price, source, ageDays }) => [
      model,
      ...(price === undefined ? ['no price', '', '', ''] : ratesText(price)),
      source,
      ageDays === undefined ? '' : `${ageDays} days`,
    ]),
  ])
  return [table, 'US dollars per million tokens.', ...warnings(shown)].join('\n\n')
}

function sourceText(priced: OutlinedModel['priced'], file: string): string {
  switch (priced?.by) {
    case 'book':
      return `${priced.like}, price book of ${BOOK_DATE}`
    case 'policy':
      return file
    case 'worst':
      return 'the highest of any model (unpriced: worst)'
    default:
      return ''
  }
}

function ratesText({ rates, above, tiers = {}, zone, tools = {} }: Price): string[] {
  const { input, cachedInput, output, ...others } = rates
  const more = [
    ...Object.entries(others).map(([kind, rate]) => `${kind} ${usd(rate)}`),
    ...(above === undefined
      ? []
      : [`above ${above.tokens} tokens: input ${usd((above.rates.input ?? 0) / above.perPico)}`]),
    ...Object.entries(tiers).map(
      ([tier, times]) => `${tier} ${typeof times === 'number' ? `${times / 1_000}x` : usd(times.rates.input)}`,
    ),
    ...(zone === undefined ? [] : [`zone ${zone / 1_000}x`]),
    ...Object.entries(tools).map(([tool, pico]) => `${tool} ${pico / 1e12} a call`),
  ]
  return [usd(input), usd(cachedInput), usd(output), more.join(', ')]
}

function usd(pico: number | undefined): string {
  return pico === undefined ? '' : String(pico / PICO_IN_MILLIONTH)
}

/** When the policy's file was last changed, in milliseconds since 1970. */
function changedAt(root: string, file: string): number {
  return statSync(isAbsolute(file) ? file : join(root, file)).mtimeMs
}

function warnings(shown: readonly ShownPrice[]): string[] {
  const old = shown.filter(({ ageDays }) => ageDays !== undefined && ageDays > OLD_DAYS).map(({ model }) => model)
  const unpriced = shown.filter(({ price }) => price === undefined).map(({ model }) => model)
  return [
    ...(old.length === 0
      ? []
      : [
          `WARNING: older than ${OLD_DAYS} days: ${old.join(', ')}. Compare with the provider's price list, and write what differs ` +
            'under models.<name>.price in the policy.',
        ]),
    ...(unpriced.length === 0
      ? []
      : [`Without a price, and so refused where a limit on money holds: ${unpriced.join(', ')}.`]),
  ]
}
