import type { Price } from './policy-price.ts'

export type Json = { readonly [field: string]: unknown }

/** The most that a call can take: what is billed where its answer doesn't tell. */
export interface Reserved {
  readonly input: number
  /** Of all choices together. */
  readonly output: number
  /** Calls of hosted tools. */
  readonly tools?: Readonly<Record<string, number>>
}

/** One call to a provider, and what it costs. README.md says what each field means. */
export interface BillCase {
  readonly id: string
  readonly about: string
  /** The provider, and its name for the model: `openai/gpt-5`. */
  readonly sheet: string
  /** What the sheet says, in the policy's grammar. */
  readonly price: Price
  /** Where it was sent. */
  readonly target: { readonly kind: 'openai' | 'azure'; readonly ptu?: true; readonly zone?: string }
  readonly api: 'chat' | 'embeddings' | 'responses'
  /** The fields of the request that move money. */
  readonly asked: Json
  readonly reserved?: Reserved
  readonly answer: { readonly status: number; readonly headers: Readonly<Record<string, string>>; readonly body: Json }
  readonly nanoUsd: number
}

export function field(of: unknown, name: string): unknown {
  return typeof of === 'object' && of !== null ? (of as Json)[name] : undefined
}
