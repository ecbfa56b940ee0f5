/*
 * `npm run prices` writes the price book (packages/middleware/src/policy/listed-prices.json) from the installed
 * @pydantic/genai-prices (MIT). With --check it only compares. To renew it, raise that package's version, and DATE with it.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { findProvider, type ModelInfo, type ModelPrice } from '@pydantic/genai-prices'
import { ROOT } from './bundle.ts'

/** The day on which that version was released: its prices are as old. */
const DATE = '2026-09-23'

const FILE = join(ROOT, 'packages/middleware/src/policy/listed-prices.json')
const { devDependencies } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
  devDependencies: Readonly<Record<string, string>>
}
const version = devDependencies['@pydantic/genai-prices']

/** Providers by the source's names, in the policy's: those whose models a target can reach. */
const PROVIDERS = {
  openai: 'openai',
  azure: 'azure',
  anthropic: 'anthropic',
  google: 'google',
  deepseek: 'deepseek',
  mistral: 'mistral',
  'x-ai': 'xai',
  groq: 'groq',
  cohere: 'cohere',
  aws: 'bedrock',
  fireworks: 'fireworks',
  together: 'together',
  cerebras: 'cerebras',
  moonshotai: 'moonshotai',
} as const

/** The source's prices of tokens, USD per million, in the policy's words. */
const KINDS: Readonly<Record<string, string>> = {
  input_mtok: 'input',
  cache_read_mtok: 'cachedInput',
  cache_write_mtok: 'cacheWrite',
  cache_write_1h_mtok: 'cacheWriteLong',
  input_audio_mtok: 'audioInput',
  input_image_mtok: 'imageInput',
  output_mtok: 'output',
  output_audio_mtok: 'audioOutput',
  output_image_mtok: 'imageOutput',
}
/** The source's prices of calls, USD per thousand. */
const TOOLS: Readonly<Record<string, string>> = {
  web_searches_kcount: 'web_search',
  storage_searches_kcount: 'file_search',
}
/** Prices of what no surface takes, or no answer tells: a model keeps its other prices. */
const LEFT_OUT: ReadonlySet<string> = new Set([
  'cache_audio_read_mtok',
  'cache_image_read_mtok',
  'input_video_mtok',
  'output_video_mtok',
  'input_document_kpages',
  'input_annotated_document_kpages',
])
/** Models of services that no surface speaks, whose price is of something else. */
const OTHER_SERVICES = /audio|realtime|tts|transcribe|whisper|image|moderation|live|embed-image|veo|dall-e|imagen/

interface Entry {
  price: Record<string, unknown>
  contextWindow?: number
}

/** The prices that hold on DATE; of several hours of a day the dearest. */
function pricesOf({ prices }: ModelInfo): readonly ModelPrice[] {
  if (!Array.isArray(prices)) return [prices]
  const current = prices
    .filter(
      ({ constraint }) =>
        constraint === undefined || (constraint.type === 'start_date' && constraint.start_date <= DATE),
    )
    .at(-1)
  const hours = prices.filter(({ constraint }) => constraint?.type === 'time_of_date')
  return [...(current === undefined ? [] : [current]), ...hours].map((each) => each.prices)
}

function entryOf(model: ModelInfo): Entry | undefined {
  if (OTHER_SERVICES.test(model.id)) return undefined
  const price: Record<string, number> = {}
  const above: Record<string, number> = {}
  const tools: Record<string, number> = {}
  let threshold: number | undefined
  for (const prices of pricesOf(model)) {
    for (const [key, value] of Object.entries(prices)) {
      const [kind, tool] = [KINDS[key], TOOLS[key]]
      if (value === undefined || LEFT_OUT.has(key)) continue
      if (kind === undefined && tool === undefined) return undefined
      const base = typeof value === 'number' ? value : value.base
      if (tool !== undefined) tools[tool] = Math.max(tools[tool] ?? 0, base / 1_000)
      if (kind === undefined) continue
      price[kind] = Math.max(price[kind] ?? 0, sixDecimals(base))
      const [tier] = typeof value === 'number' ? [] : value.tiers
      if (tier === undefined) continue
      threshold = Math.min(threshold ?? tier.start, tier.start)
      above[kind] = Math.max(above[kind] ?? 0, sixDecimals(tier.price))
    }
  }
  // What embeds writes nothing; what has no price for its input, or for its output alone, has a price of another kind.
  if (price.input === undefined || (price.output === undefined && !model.id.includes('embed'))) return undefined
  price.output ??= 0
  if ((price.cachedInput ?? 0) > price.input) delete price.cachedInput
  const long = Object.fromEntries(Object.keys(price).map((kind) => [kind, above[kind] ?? price[kind]]))
  return {
    price: {
      ...price,
      ...(threshold === undefined ? {} : { above: { tokens: threshold, ...long } }),
      ...(Object.keys(tools).length === 0 ? {} : { tools }),
    },
    ...(model.context_window === undefined ? {} : { contextWindow: model.context_window }),
  }
}

/** Rounded up: a price is never below the list's. */
function sixDecimals(usd: number): number {
  return Math.ceil(Number((usd * 1e6).toFixed(3))) / 1e6
}

const models: Record<string, Entry> = {}
for (const [providerId, name] of Object.entries(PROVIDERS)) {
  const provider = findProvider({ providerId })
  if (provider === undefined)
    throw new Error(`@pydantic/genai-prices has no provider '${providerId}'. Correct PROVIDERS.`)
  for (const model of provider.models) {
    const entry = entryOf(model)
    if (entry !== undefined) models[`${name}/${model.id}`] = entry
  }
}
/** What was taken from a package keeps its notice. */
const license = readFileSync(join(ROOT, 'node_modules/@pydantic/genai-prices/LICENSE'), 'utf8')
const lines = Object.entries(models).map(([name, entry]) => `    ${JSON.stringify(name)}: ${JSON.stringify(entry)}`)
const text = `{
  "date": "${DATE}",
  "source": "@pydantic/genai-prices ${version} (MIT)",
  "license": ${JSON.stringify(license)},
  "models": {
${lines.join(',\n')}
  }
}
`

if (!process.argv.includes('--check')) writeFileSync(FILE, text)
else if (readFileSync(FILE, 'utf8') !== text) {
  console.error('listed-prices.json is not what the installed prices say. Run: npm run prices')
  process.exitCode = 1
}
