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
 * single file. They are asked in OpenAI's wire format, but for those that have a `translation`.
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
  /**
   * A kind with a wire format of its own: how this request is told in it and its answer read, as values that were JSON. All else
   * stays as it is for every kind: bytes and their bounds, events, time limits, usage, prices, the cache. What the service can't be
   * told is said before it is asked, so that another target may be. Left out by a kind that is asked in OpenAI's format.
   *
   * @param body of OpenAI's operation, with all that will be asked
   */
  translation?(settings: Settings, operation: { readonly path: string }, body: Json): Translation | Untranslatable
}

/** A JSON object whose fields nobody has checked. */
export type Json = Readonly<Record<string, unknown>>

/** One request in a service's own wire format. What comes of it is given back as OpenAI's service would have said it. */
export interface Translation {
  /** The request's object. */
  readonly body: Json
  /** An answer that came whole; `undefined` for one that is not of the service's form, which then counts as none. */
  answer(came: Json): Json | undefined
  /** What one event of a stream tells: events of OpenAI's, in their order, and its mark where the answer is whole. */
  events(came: Json): readonly (Json | '[DONE]')[]
  /** An answer that is no success: `{error: {message, code}}`, as far as it tells them. */
  error(came: Json): Json
}

/** Why a service can't be asked for something. */
export interface Untranslatable {
  /** Goes on from the model's name: `can't be told 'tools'`. */
  readonly cannot: string
  /** The field of the body that it can't be told; left out where it is the operation. */
  readonly field?: string
}

/** The checks that a document is resolved by: what the app's operator allows. Each throws a `TargetFault`. */
export interface TargetContext {
  /** A value of the document, or of the environment variable that it names. `field` is the document's, for the fault. */
  setting(value: string | FromEnv, field: string): string
  /** The same of a secret. That another variable holds it makes another revision of the policy. */
  secret(value: FromEnv, field: string): string
  /** The same of a secret that need not be there: `undefined` where its variable is not set. */
  secretIfSet(value: FromEnv, field: string): string | undefined
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
