/** What a reader can change about the month that is reckoned. All but the tier are numbers. */
export interface Inputs {
  readonly requests: number
  /** From 0 to 1: of the requests, those that Tollgate's cache answers. */
  readonly hitRatio: number
  readonly apimHitRatio: number
  readonly apisixHitRatio: number
  readonly inputTokens: number
  readonly outputTokens: number
  /** Seconds of a call of the model, from the request to the end of the answer. */
  readonly modelSeconds: number
  readonly memoryGb: number
  /** Executions that share an instance's time, on average. */
  readonly concurrent: number
  readonly leastMs: number
  readonly hitMs: number
  readonly missMs: number
  readonly removalMs: number
  readonly telemetryBytes: number
  readonly logBytes: number
  /** From 0 to 1: of the requests, those whose spans the app sends to Application Insights. */
  readonly traced: number
  readonly hitSpanBytes: number
  readonly missSpanBytes: number
  readonly waitSpanBytes: number
  readonly metricBytes: number
  readonly instances: number
  readonly keys: number
  /** Of 1,000 decisions on one row. */
  readonly limitTransactions: number
  readonly limitRows: number
  readonly farHits: number
  readonly claimedMisses: number
  readonly entryBytes: number
  readonly ttlHours: number
  readonly usageBytes: number
  readonly usageDays: number
  readonly apimUnits: number
  readonly aksNodes: number
  readonly operatorHours: number
  readonly operatorRate: number
}

export interface InputOption {
  readonly key: keyof Inputs
  /** Another input's name: the same as that one. */
  readonly fallback: number | keyof Inputs
  readonly what: string
  readonly most?: number
  readonly least?: number
}

/** Every input with its default. What is uncertain is set against Tollgate, not for it. */
export const INPUTS: readonly InputOption[] = [
  { key: 'requests', fallback: 1_000_000, what: 'requests a month' },
  { key: 'hitRatio', fallback: 0.4, most: 1, what: 'of them, answered from the cache: 0 to 1' },
  { key: 'apimHitRatio', fallback: 0, most: 1, what: "the same behind API Management, whose cache doesn't see a body" },
  { key: 'apisixHitRatio', fallback: 'hitRatio', most: 1, what: 'the same behind APISIX' },
  { key: 'inputTokens', fallback: 500, what: 'tokens of a prompt' },
  { key: 'outputTokens', fallback: 250, what: 'tokens of an answer' },
  { key: 'modelSeconds', fallback: 3, what: 'seconds that the model takes for an answer' },
  { key: 'memoryGb', fallback: 2, what: "GB of an instance's memory: 0.5, 2 or 4" },
  { key: 'concurrent', fallback: 1, least: 1, what: 'requests that are in an instance at once, on average' },
  { key: 'leastMs', fallback: 1_000, what: 'milliseconds that are billed at least where an instance does something' },
  { key: 'hitMs', fallback: 20, what: 'milliseconds of a hit' },
  { key: 'missMs', fallback: 30, what: 'milliseconds that Tollgate adds to a miss' },
  { key: 'removalMs', fallback: 5, what: 'milliseconds that the sweep takes for a completion that it removes' },
  { key: 'telemetryBytes', fallback: 1_000, what: "bytes of the platform's own telemetry for an execution" },
  { key: 'logBytes', fallback: 1_000, what: "bytes of Tollgate's log line, as it is stored" },
  {
    key: 'traced',
    fallback: 1,
    most: 1,
    what: 'of the requests, those whose spans the app sends to Application Insights: 0 to 1',
  },
  { key: 'hitSpanBytes', fallback: 1_100, what: 'bytes of the span of a hit' },
  { key: 'missSpanBytes', fallback: 2_300, what: 'bytes of the spans of a miss and its call to the model' },
  { key: 'waitSpanBytes', fallback: 800, what: 'bytes of the span of a wait in a store' },
  {
    key: 'metricBytes',
    fallback: 5_000,
    what: 'bytes of the metrics that an instance sends for a minute with requests',
  },
  { key: 'instances', fallback: 2, least: 1, what: 'instances that are up, on average' },
  { key: 'keys', fallback: 100, what: 'keys in use' },
  { key: 'limitTransactions', fallback: 2_000, what: 'transactions for 1,000 decisions on a row of limits' },
  { key: 'limitRows', fallback: 2, what: 'rows of limits that a request is checked against' },
  { key: 'farHits', fallback: 1, most: 1, what: 'of the hits, those read from the table and not from memory: 0 to 1' },
  {
    key: 'claimedMisses',
    fallback: 1,
    most: 1,
    what: 'of the misses, those that mark the question as being asked: 0 to 1',
  },
  { key: 'entryBytes', fallback: 1_000, what: 'bytes of a stored completion' },
  { key: 'ttlHours', fallback: 1, what: 'hours for which it is stored' },
  { key: 'usageBytes', fallback: 1_000, what: 'bytes of a request in the ledger of usage' },
  { key: 'usageDays', fallback: 30, what: 'days for which it is kept there' },
  { key: 'apimUnits', fallback: 1, least: 1, what: 'units of API Management' },
  { key: 'aksNodes', fallback: 3, least: 1, what: 'nodes of the Kubernetes cluster' },
  { key: 'operatorHours', fallback: 0, what: "a person's hours a month for that cluster" },
  { key: 'operatorRate', fallback: 0, what: 'US dollars for such an hour' },
]

/** Completes what a reader gave by the defaults. */
export function withDefaults(given: Partial<Inputs>): Inputs {
  const numbers: { -readonly [Key in keyof Inputs]?: number } = {}
  for (const { key, fallback } of INPUTS) {
    numbers[key] = given[key] ?? (typeof fallback === 'number' ? fallback : (numbers[fallback] ?? 0))
  }
  return numbers as Inputs
}
