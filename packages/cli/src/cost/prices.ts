export interface Price {
  /** US dollars. */
  readonly usd: number
  readonly per: string
  readonly region: string
  /** The provider's page, where the price of today stands. */
  readonly source: string
  /** Where it was read for this table, and of when that is. `undefined`: nowhere; it was not checked. */
  readonly read: string | undefined
}

const FUNCTIONS = 'https://azure.microsoft.com/pricing/details/functions/'
const APIM = 'https://azure.microsoft.com/pricing/details/api-management/'
const AKS = 'https://azure.microsoft.com/pricing/details/kubernetes-service/'
const VMS = 'https://azure.microsoft.com/pricing/details/virtual-machines/linux/'
const DISKS = 'https://azure.microsoft.com/pricing/details/managed-disks/'
const NETWORK = 'https://azure.microsoft.com/pricing/details/load-balancer/'
const TABLES = 'https://azure.microsoft.com/pricing/details/storage/tables/'
const MONITOR = 'https://azure.microsoft.com/pricing/details/monitor/'
const OPENAI = 'https://azure.microsoft.com/pricing/details/cognitive-services/openai-service/'
const EAST_US = 'East US'

/**
 * List prices in US dollars, without tax, discounts and free grants. None has been read at its source: where another's
 * page was read, it is named with its date; all are to be checked before they are relied on.
 */
export const PRICES = {
  modelInput: price(0.15, '1M tokens', 'global', OPENAI, 'redresscompliance.com, 2026: GPT-4o mini'),
  modelOutput: price(0.6, '1M tokens', 'global', OPENAI, 'redresscompliance.com, 2026: GPT-4o mini'),
  functionGbSecond: price(0.000026, 'GB-second', EAST_US, FUNCTIONS, 'modal.com, 2025-05-22: Flex Consumption'),
  functionExecutions: price(0.4, '1M executions', EAST_US, FUNCTIONS),
  tableTransactions: price(0.00036, '10,000', EAST_US, TABLES),
  tableGbMonth: price(0.045, 'GB-month', EAST_US, TABLES),
  logGb: price(2.3, 'GB', EAST_US, MONITOR, 'monitoringcost.com, 2026: Analytics Logs'),
  apimConsumption: price(3.5, '1M calls', EAST_US, APIM, 'microsoftnegotiations.com, 2026'),
  apimBasicV2: price(150, 'unit-month', EAST_US, APIM),
  apimStandardV2: price(700, 'unit-month', EAST_US, APIM),
  apimPremium: price(2_795, 'unit-month', EAST_US, APIM, 'turbo360.com, n.d.: about 2,800'),
  aksHour: price(0.1, 'hour', EAST_US, AKS, 'techmarmot.com, n.d.: Standard tier'),
  nodeHour: price(0.096, 'hour', EAST_US, VMS),
  nodeDiskMonth: price(19.71, 'month', EAST_US, DISKS),
  etcdDiskMonth: price(5.28, 'month', EAST_US, DISKS),
  balancerHour: price(0.025, 'hour', EAST_US, NETWORK),
  addressHour: price(0.005, 'hour', EAST_US, NETWORK),
} satisfies Readonly<Record<string, Price>>

export type PriceName = keyof typeof PRICES
/** What each costs: US dollars. */
export type Rates = Readonly<Record<PriceName, number>>

export const LIST_RATES = Object.fromEntries(Object.entries(PRICES).map(([name, { usd }]) => [name, usd])) as Rates

export function isPriceName(name: string): name is PriceName {
  return Object.hasOwn(PRICES, name)
}

function price(usd: number, per: string, region: string, source: string, read?: string): Price {
  return { usd, per, region, source, read }
}
