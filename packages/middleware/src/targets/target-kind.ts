import type * as z from 'zod'
import type { FromEnv } from './from-env.ts'

/** Where a target is, and what it is asked by, resolved: plain data, with no environment names left in it. A kind has its own. */
export interface TargetSettings {
  /** The name of its kind. */
  readonly kind: string
  /** The name to send as `model`. */
  readonly model: string
}

/**
 * A kind of service that serves models: how a policy says where one is, and how a request to it is made. A single value in a
 * single file. All of them are asked in OpenAI's wire format.
 */
export interface TargetKind<Document = unknown, Settings extends TargetSettings = TargetSettings> {
  /** The target's key in a policy, its settings' `kind`, and how its id begins. Never changed: ids and cache keys hold it. */
  readonly name: string
  /** A sentence for the policy's JSON Schema. */
  readonly description: string
  /** What a policy writes under the name. */
  readonly document: z.ZodType<Document>
  /** A document in one line of YAML, for the fault that it is missing or of another form. */
  readonly example: string
  /** Whether a URL is on a host of the kind's own provider, which an operator need not list. Left out where there is none. */
  isKnownHost?(url: URL): boolean
  /** The name by which the document's model is asked for at its server. */
  servedAs(document: Document): string
  /** @throws TargetFault, ModelUrlFault; what `context` throws */
  resolve(document: Document, context: TargetContext): Settings
  /** What tells the settings' service apart from others of the kind, beside the name of the model. */
  place(settings: Settings): TargetPlace
  /** How a target is asked. Made once for each target and operation. */
  template(settings: Settings, asked: AskedOperation): RequestTemplate | Promise<RequestTemplate>
}

/** The checks that a document is resolved by: what the app's operator allows. Each throws a `TargetFault`. */
export interface TargetContext {
  /** A value of the document, or of the environment variable that it names. `field` is the document's, for the fault. */
  setting(value: string | FromEnv, field: string): string
  /** The same of a secret. That another variable holds it makes another revision of the policy. */
  secret(value: FromEnv, field: string): string
  /** A URL on a host that may be asked. Every URL that a target is asked at has passed this. */
  url(text: string): URL
  /** Passes where the app's managed identity may be told: a kind that authorizes by `token` has asked this first. */
  allowIdentity(url: URL): void
}

/** Targets of equal places and names give equal answers; part of every cache key. No secret is in it. */
export interface TargetPlace {
  readonly url: string
  /** Which of several APIs under the URL; '' where there is one. */
  readonly api: string
}

export interface AskedOperation {
  /** Under the target's base URL, beginning with a slash. */
  readonly path: string
  readonly method: 'GET' | 'POST'
}

/** A request but for its body and what only one call has. */
export interface RequestTemplate {
  readonly url: URL
  /** Names in lower case and values, by turns. */
  readonly headers: readonly string[]
  /** What a `fetch` does with a redirect, which is never followed: 'error' by default. */
  readonly redirect?: 'error' | 'manual'
  /** The headers that each call adds, names in lower case and values by turns: of a token, or a signature over its body. */
  readonly authorize?: (body: Uint8Array | undefined, token: TokenSource) => Promise<readonly string[]>
}

/** Gives an Entra token for Azure AI. */
export type TokenSource = () => Promise<string>

/** A fault in a target, to be reported with its path. */
export class TargetFault extends Error {}

/** @throws RangeError for a kind that the composition doesn't have */
export function kindOf(kinds: readonly TargetKind[], name: string): TargetKind {
  const kind = kinds.find((each) => each.name === name)
  if (kind === undefined) throw new RangeError(`'${name}' is no kind of target. Add it to targetKinds.`)
  return kind
}
