import {
  BOOK_DATE,
  BOOK_NAMES,
  BOOK_SOURCE,
  bookAgeDays,
  dearestPrice,
  listedPrice,
  listText,
  nearBookNames,
  type OutlinedModel,
  type OutlinedTarget,
  oldBookText,
  type Price,
  type PriceJson,
  picksOf,
  priceJson,
  type VirtualModel,
  virtualText,
} from '@tollgate/middleware'
import { columns } from './columns.ts'
import { CommandFault } from './command-fault.ts'
import { policyHere } from './managing.ts'
import type { Place } from './place.ts'
import { PRICE_TITLES, priceCells, UNIT_TEXT } from './shown-price.ts'

export interface PricesOptions {
  readonly json?: boolean
  /** The price book instead of the policy's models: all of it, or the names that have this in them. */
  readonly book?: boolean | string
}

/** Prices: of each model of the policy, by whose word they are and how old; or of the book. */
export async function showPrices(options: PricesOptions, place: Place, now = Date.now()): Promise<string> {
  const { json = false, book = false } = options
  return book === false ? await ofPolicy(json, place, now) : ofBook(json, book === true ? '' : book, now)
}

async function ofPolicy(json: boolean, place: Place, now: number): Promise<string> {
  const outline = await policyHere(place)
  const file = outline.source.file ?? 'the default policy'
  const models = [...outline.models.values()]
  const virtualModels = [...outline.virtualModels.values()]
  const listed = models.filter(({ priced }) => priced?.by === 'book').map(({ name }) => name)
  if (json) {
    const shown = models.map(({ name, priced, price, targets }) => ({
      model: name,
      ...(price === undefined ? {} : priceJson(price)),
      source: sourceText(priced, file),
      ...(priced?.by === 'book' ? { ageDays: bookAgeDays(now) } : {}),
      ...(isShown(targets) ? { targets: targets.map(targetJson), dearest: dearestJson(targets) } : {}),
    }))
    const virtual = virtualModels.map((each) => ({ model: each.name, kind: each.kind, picks: picksOf(each) }))
    return JSON.stringify({ book: bookJson(now), models: shown, ...(virtual.length === 0 ? {} : { virtual }) })
  }
  const table = columns([
    ['MODEL', ...PRICE_TITLES, 'SOURCE', 'AGE'],
    ...models.map(({ name, priced, price }) => [
      name,
      ...cells(price),
      sourceText(priced, file),
      priced?.by === 'book' ? `${bookAgeDays(now)} days` : '',
    ]),
  ])
  const shown = models.filter(({ targets }) => isShown(targets))
  const old = oldBookText(listed, now)
  const unpriced = models.filter(({ price }) => price === undefined).map(({ name }) => name)
  return [
    table,
    ...(shown.length === 0 ? [] : [columns([TARGET_TITLES, ...shown.flatMap(targetRows)])]),
    `${UNIT_TEXT}.`,
    ...(virtualModels.length === 0 ? [] : [virtualTable(virtualModels)]),
    ...(old === undefined ? [] : [`WARNING: ${old}`]),
    ...(unpriced.length === 0
      ? []
      : [`Without a price, and so refused where a limit on money holds: ${unpriced.join(', ')}.`]),
  ].join('\n\n')
}

function cells(price: Price | undefined): string[] {
  return price === undefined ? ['no price', '', '', ''] : priceCells(price)
}

/** Whether there is more to tell of a model's targets than its own price does. */
function isShown(targets: readonly OutlinedTarget[]): boolean {
  return targets.length > 1 || targets.some(({ ptu, zone }) => ptu || zone !== undefined)
}

const TARGET_TITLES = ['TARGET OF', 'IS', 'PRIORITY', 'WEIGHT', 'ZONE', ...PRICE_TITLES]

/** Each target at what is served there, and what spills over from it; of several, the most that a request can cost. */
function targetRows({ name, targets }: OutlinedModel): string[][] {
  const rows = targets.flatMap((target) => {
    const { kind, servedAs, priority, weight, zone = '', price, spilloverPrice } = target
    const is = kind === undefined ? 'by the settings' : `${kind} ${servedAs}`
    return [
      [name, is, String(priority), String(weight), zone, ...cells(price)],
      ...(spilloverPrice === undefined ? [] : [[name, '  spilling over', '', '', zone, ...cells(spilloverPrice)]]),
    ]
  })
  return targets.length === 1 ? rows : [...rows, [name, 'the dearest', '', '', '', ...cells(dearestPrice(targets))]]
}

function targetJson({ kind, servedAs, priority, weight, zone, ptu, price, spilloverPrice }: OutlinedTarget) {
  return {
    ...(kind === undefined ? {} : { kind, servedAs }),
    priority,
    weight,
    ...(zone === undefined ? {} : { inZone: zone }),
    ...(ptu ? { ptu } : {}),
    ...(price === undefined ? {} : priceJson(price)),
    ...(spilloverPrice === undefined ? {} : { spillover: priceJson(spilloverPrice) }),
  }
}

function dearestJson(targets: readonly OutlinedTarget[]): PriceJson | undefined {
  const price = dearestPrice(targets)
  return price && priceJson(price)
}

/** What costs what the model costs that it picks. */
function virtualTable(virtualModels: readonly VirtualModel[]): string {
  return columns([
    ['AT THE PRICE OF WHAT SERVES', 'IS'],
    ...virtualModels.map((each) => [each.name, virtualText(each)]),
  ])
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

function ofBook(json: boolean, pattern: string, now: number): string {
  const names = BOOK_NAMES.filter(matching(pattern)).toSorted()
  if (names.length === 0) {
    const meant = nearBookNames(pattern)
    const hint = meant.length === 0 ? '' : ` Did you mean ${listText(meant, 'or')}?`
    throw new CommandFault(
      `The price book has no name with '${pattern}' in it.${hint} Without a pattern, --book lists all.`,
    )
  }
  if (json) {
    const models = names.map((name) => ({ like: name, ...priceJson(listedPrice(name)) }))
    return JSON.stringify({ book: bookJson(now), models })
  }
  const table = columns([['LIKE', ...PRICE_TITLES], ...names.map((name) => [name, ...priceCells(listedPrice(name))])])
  return `${table}\n\n${UNIT_TEXT}, of ${BOOK_DATE} (${bookAgeDays(now)} days ago), from ${BOOK_SOURCE}.`
}

/** A part of a name in either case; with a `*`, which stands for any letters, the whole name. */
function matching(pattern: string): (name: string) => boolean {
  const wanted = pattern.toLowerCase()
  if (!wanted.includes('*')) return (name) => name.toLowerCase().includes(wanted)
  const parts = wanted.split('*').map((part) => part.replace(/[^a-z\d]/g, '\\$&'))
  const whole = new RegExp(`^${parts.join('.*')}$`, 'i')
  return (name) => whole.test(name)
}

function bookJson(now: number) {
  return { date: BOOK_DATE, source: BOOK_SOURCE, ageDays: bookAgeDays(now) }
}
