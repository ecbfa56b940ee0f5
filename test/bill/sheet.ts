import { readFileSync } from 'node:fs'
import { join } from 'node:path'

/** Kinds of tokens that a provider prices apart. No token is of two. */
export const KINDS = [
  'input',
  'cachedInput',
  'cacheWrite',
  'cacheWriteLong',
  'audioInput',
  'output',
  'audioOutput',
] as const
export type Kind = (typeof KINDS)[number]

/** USD a million tokens, as decimal numbers. */
export type Rates = Readonly<Partial<Record<Kind, string>>> & { readonly input: string; readonly output: string }

export interface Source {
  readonly url: string
  readonly read: string
  /**
   * `page`: read in a stored copy of the provider's own page. `transcription`: read in somebody's copy of that page's tables.
   * `secondary`: told by others, and not seen at the provider.
   */
  readonly verified: 'page' | 'transcription' | 'secondary'
  /** The date that the prices are of, where it is known to be another. */
  readonly as_of?: string
  readonly says: string
}

export interface ModelSheet {
  readonly sources: readonly Source[]
  readonly note?: string
  /** A request with more input tokens than so many is billed at `long` rates, all of it. */
  readonly above?: number
  /** What the rates are multiplied by where a request must be processed in a region or zone. */
  readonly regional?: string
  /** By what the answer says that it was served by; `default` is always there. */
  readonly tiers: Readonly<Record<string, { readonly short: Rates; readonly long?: Rates }>>
  readonly tools?: Readonly<Record<string, { readonly usd: string; readonly calls: number }>>
}

export const PROVIDERS = ['openai', 'azure', 'deepseek'] as const
export type Provider = (typeof PROVIDERS)[number]

const folder = join(import.meta.dirname, 'sheets')
const sheets = new Map(
  PROVIDERS.map((provider): [Provider, Readonly<Record<string, ModelSheet>>] => [
    provider,
    JSON.parse(readFileSync(join(folder, `${provider}.json`), 'utf8')).models,
  ]),
)

/** @param name `openai/gpt-5`. @throws RangeError when no sheet has it */
export function sheetOf(name: string): ModelSheet {
  const [provider, model = ''] = name.split('/')
  const sheet = sheets.get(provider as Provider)?.[model]
  if (sheet === undefined) throw new RangeError(`No price sheet has '${name}'`)
  return sheet
}

export function sheetNames(): string[] {
  return [...sheets].flatMap(([provider, models]) => Object.keys(models).map((model) => `${provider}/${model}`))
}
