import { untilAborted } from '../../pipeline/index.ts'
import {
  isAzureAiHost,
  kindOf,
  type RequestTemplate,
  TARGET_KINDS,
  type TargetKind,
  type TargetSettings,
  type TokenSource,
} from '../../targets/index.ts'
import { shownUrl, type Transport } from './transport.ts'

/** A request but for its body. */
export interface BuiltRequest {
  readonly method: 'GET' | 'POST'
  readonly template: RequestTemplate
  /** Its URL as a log may show it. */
  readonly shown: string
  /** The headers that this call adds to the template's. */
  readonly added: readonly string[]
}

/** Templates that are known by now, and what each call adds to its own. */
export interface RequestBuilder {
  /** A transport's. */
  readonly translation: NonNullable<Transport['translation']>
  /** All but what each call adds: loads what builds it. `undefined` where it is known already. */
  prepare(target: TargetSettings, path: string): Promise<unknown> | undefined
  /**
   * What a call needs beside its body, at once where it is there already.
   *
   * @param body `undefined` for a GET
   * @throws the signal's reason when it aborts: neither a template nor a token looks at one
   */
  build(
    target: TargetSettings,
    path: string,
    body: Uint8Array | undefined,
    signal: AbortSignal,
  ): BuiltRequest | Promise<BuiltRequest>
}

export interface RequestBuilderOptions {
  readonly token: TokenSource
  /** The kinds that a target may be of: those that ship with Tollgate by default. */
  readonly targetKinds?: readonly TargetKind[] | undefined
}

const NOTHING_ADDED: readonly string[] = []

export function requestBuilder({ token, targetKinds = TARGET_KINDS }: RequestBuilderOptions): RequestBuilder {
  const known = new WeakMap<TargetSettings, Map<string, BuiltRequest | Promise<BuiltRequest>>>()

  async function load(
    target: TargetSettings,
    path: string,
    method: BuiltRequest['method'],
    at: string,
  ): Promise<BuiltRequest> {
    try {
      const template = await kindOf(targetKinds, target.kind).template(target, { path, method })
      const built = { method, template, shown: shownUrl(template.url), added: NOTHING_ADDED }
      known.get(target)?.set(at, built)
      return built
    } catch (error) {
      // A failure is tried again by the next call.
      known.get(target)?.delete(at)
      throw error
    }
  }

  async function authorized(
    target: TargetSettings,
    building: BuiltRequest | Promise<BuiltRequest>,
    body: Uint8Array | undefined,
  ): Promise<BuiltRequest> {
    const built = await building
    const { authorize } = built.template
    if (authorize === undefined) return built
    return { ...built, added: await authorize(body, () => tokenFrom(token, target, built.template.url)) }
  }

  function builtFor(
    target: TargetSettings,
    path: string,
    method: BuiltRequest['method'],
  ): BuiltRequest | Promise<BuiltRequest> {
    let paths = known.get(target)
    if (paths === undefined) {
      paths = new Map()
      known.set(target, paths)
    }
    const at = `${method} ${path}`
    let built = paths.get(at)
    if (built === undefined) {
      built = load(target, path, method, at)
      paths.set(at, built)
    }
    return built
  }

  return {
    translation: (target, operation, body) => kindOf(targetKinds, target.kind).translation?.(target, operation, body),
    prepare(target, path) {
      const built = builtFor(target, path, 'POST')
      return 'then' in built ? built : undefined
    },
    build(target, path, body, signal) {
      const built = builtFor(target, path, body === undefined ? 'GET' : 'POST')
      if (!('then' in built) && built.template.authorize === undefined) return built
      return untilAborted(authorized(target, built, body), signal)
    },
  }
}

/** Its cause is told to the operator by its name, and never by its text. */
async function tokenFrom(token: TokenSource, { kind }: TargetSettings, url: URL): Promise<string> {
  if (!isAzureAiHost(url)) throw new Error('An Entra token is given for hosts of Azure AI alone')
  let got: unknown
  try {
    got = await token()
  } catch (cause) {
    throw new Error(`No token could be had for a target of kind ${kind}`, { cause })
  }
  if (typeof got !== 'string' || got === '') throw new Error('The source of tokens gave none')
  return got
}
