import { type Bill, type Line, product } from './bill.ts'
import type { Inputs } from './inputs.ts'
import type { Rates } from './prices.ts'
import { minutesWithRequests, ROLL_UPS, SWEEPS, tableTransactions, waitsForStores } from './transactions.ts'

const MONTH_HOURS = 730
const DAY_HOURS = 24
/** etcd needs a majority of three. */
const ETCD_MEMBERS = 3

export type ApimTier = 'consumption' | 'basic-v2' | 'standard-v2' | 'premium'
export const APIM_TIERS: readonly ApimTier[] = ['consumption', 'basic-v2', 'standard-v2', 'premium']

/** A function that calls the model for each request: no keys, no limits, no cache. */
export function bareFunction(inputs: Inputs, rates: Rates): Bill {
  return { system: 'bare function', lines: callLines(inputs, rates, inputs.requests) }
}

/** The same behind Azure API Management; what its cache answers never reaches the function. */
export function apiManagement(inputs: Inputs, rates: Rates, tier: ApimTier): Bill {
  const { requests, apimHitRatio, apimUnits } = inputs
  const units = (usd: number) => product('gateway', 'units', [apimUnits, '%'], [usd, '$% a unit and month'])
  const gateway: Readonly<Record<ApimTier, Line>> = {
    consumption: product('gateway', 'calls', [requests, '%'], million(rates.apimConsumption)),
    'basic-v2': units(rates.apimBasicV2),
    'standard-v2': units(rates.apimStandardV2),
    premium: units(rates.apimPremium),
  }
  return {
    system: `API Management, ${tier}`,
    lines: [...callLines(inputs, rates, requests * (1 - apimHitRatio)), gateway[tier]],
  }
}

/** The same behind Apache APISIX on a Kubernetes cluster of its own, with its etcd. */
export function apisix(inputs: Inputs, rates: Rates): Bill {
  const { requests, apisixHitRatio, aksNodes, operatorHours, operatorRate } = inputs
  const hours = [MONTH_HOURS, '% h'] as const
  const month = (usd: number) => [usd, '$% a month'] as const
  const hour = (usd: number) => [usd, '$%/h'] as const
  return {
    system: 'APISIX on AKS',
    lines: [
      ...callLines(inputs, rates, requests * (1 - apisixHitRatio)),
      product('gateway', 'nodes', [aksNodes, '% nodes'], hours, hour(rates.nodeHour)),
      product('gateway', 'disks of the nodes', [aksNodes, '% disks'], month(rates.nodeDiskMonth)),
      product('gateway', 'disks of etcd', [ETCD_MEMBERS, '% disks'], month(rates.etcdDiskMonth)),
      product('gateway', 'cluster management', hours, hour(rates.aksHour)),
      product('gateway', 'load balancer', hours, hour(rates.balancerHour)),
      product('gateway', 'public address', hours, hour(rates.addressHour)),
      ...(operatorHours > 0 ? [product('gateway', 'people', [operatorHours, '% h'], [operatorRate, '$%/h'])] : []),
    ],
  }
}

/**
 * The function with Tollgate in it. Under `function` stands what the same calls would take without it, so that `gateway`
 * is all that Tollgate adds, the executions and the time of its hits too.
 */
export function tollgate(inputs: Inputs, rates: Rates): Bill {
  const { requests, hitRatio, memoryGb, concurrent, leastMs, hitMs, missMs, removalMs } = inputs
  const { telemetryBytes, logBytes, entryBytes, ttlHours, usageBytes, usageDays, traced } = inputs
  const hits = requests * hitRatio
  const misses = requests - hits
  const hitSeconds = Math.max(hitMs, leastMs) / 1_000
  const calls = tableTransactions(inputs)
  const stored = (entryBytes / 1e9) * Math.min(1, ttlHours / MONTH_HOURS)
  // Of the months before, too, where it is kept for longer than one.
  const noted = (usageBytes / 1e9) * ((usageDays * DAY_HOURS) / MONTH_HOURS)
  const used = (item: string, count: number, seconds: number, sharing = concurrent) =>
    product('gateway', item, [count, '%'], [seconds, '% s'], ...instanceTime(memoryGb, sharing, rates))
  return {
    system: 'Tollgate',
    lines: [
      ...callLines(inputs, rates, misses),
      product('gateway', 'executions of hits', [hits, '%'], million(rates.functionExecutions)),
      used('time of hits', hits, hitSeconds),
      used('time added to misses', misses, missMs / 1_000),
      product('gateway', 'executions of the sweep', [SWEEPS, '%'], million(rates.functionExecutions)),
      // A timer shares no instance with requests.
      used('time of the sweep', SWEEPS, leastMs / 1_000, 1),
      used('time of what it removes', misses, removalMs / 1_000, 1),
      product('gateway', 'executions of the roll-up', [ROLL_UPS, '%'], million(rates.functionExecutions)),
      // Nor with another timer: each function but those of HTTP has instances of its own.
      used('time of the roll-up', ROLL_UPS, leastMs / 1_000, 1),
      ...Object.entries(calls).map(([what, count]) =>
        product(
          'gateway',
          `tables: ${what}`,
          [count, '%'],
          [rates.tableTransactions / 10_000, '$%/10,000', rates.tableTransactions],
        ),
      ),
      product('gateway', 'tables: room', [misses, '%'], [stored, '% GB-months'], [rates.tableGbMonth, '$%']),
      product('gateway', 'tables: room of usage', [requests, '%'], [noted, '% GB-months'], [rates.tableGbMonth, '$%']),
      product('gateway', 'telemetry of hits', [hits, '%'], ...logged(telemetryBytes, rates)),
      // A run that removed something writes a line too.
      product('gateway', 'telemetry of the sweep', [SWEEPS, '%'], ...logged(telemetryBytes + logBytes, rates)),
      product('gateway', 'telemetry of the roll-up', [ROLL_UPS, '%'], ...logged(telemetryBytes + logBytes, rates)),
      product('gateway', 'log lines', [requests, '%'], ...logged(logBytes, rates)),
      // What the app sends to Application Insights itself.
      product('gateway', 'spans of hits', [hits * traced, '%'], ...logged(inputs.hitSpanBytes, rates)),
      product('gateway', 'spans of misses', [misses * traced, '%'], ...logged(inputs.missSpanBytes, rates)),
      product(
        'gateway',
        'spans of waits',
        [waitsForStores(inputs) * traced, '%'],
        ...logged(inputs.waitSpanBytes, rates),
      ),
      product('gateway', 'metrics', [minutesWithRequests(inputs), '%'], ...logged(inputs.metricBytes, rates)),
    ],
  }
}

/** What so many calls of the model take, and the bare function that makes them. */
function callLines(inputs: Inputs, rates: Rates, calls: number): readonly Line[] {
  const { inputTokens, outputTokens, modelSeconds, memoryGb, concurrent, leastMs, telemetryBytes } = inputs
  const seconds = Math.max(modelSeconds, leastMs / 1_000)
  return [
    product('model', 'tokens in', [calls, '%'], [inputTokens, '%'], million(rates.modelInput)),
    product('model', 'tokens out', [calls, '%'], [outputTokens, '%'], million(rates.modelOutput)),
    product('function', 'executions', [calls, '%'], million(rates.functionExecutions)),
    product('function', 'time', [calls, '%'], [seconds, '% s'], ...instanceTime(memoryGb, concurrent, rates)),
    product('function', 'telemetry', [calls, '%'], ...logged(telemetryBytes, rates)),
  ]
}

function instanceTime(memoryGb: number, concurrent: number, rates: Rates) {
  return [
    [memoryGb, '% GB'],
    ...(concurrent === 1 ? [] : [[1 / concurrent, '1/%', concurrent] as const]),
    [rates.functionGbSecond, '$%'],
  ] as const
}

function logged(bytes: number, rates: Rates) {
  return [
    [bytes / 1e9, '% bytes', bytes],
    [rates.logGb, '$%/GB'],
  ] as const
}

function million(usd: number) {
  return [usd / 1e6, '$%/1M', usd] as const
}
