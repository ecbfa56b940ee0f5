import type { Handler, HttpResponse, Refusal } from '../pipeline/index.ts'
import {
  azureChatCompletions,
  azureEmbeddings,
  azureRefusal,
  azureResponses,
  azureV1ChatCompletions,
  azureV1Embeddings,
  chatCompletions,
  notServed,
  openaiEmbeddings,
  openaiRefusal,
  openaiResponses,
  type Surface,
} from '../surfaces/index.ts'
import { type Entry, type TraceOptions, trace } from '../telemetry/index.ts'
import { type Gateway, tellingEnds } from './create-gateway.ts'

/** The paths that a family of clients asks, under a base URL of theirs. */
export interface Dialect {
  /** The segment after which they begin: what stands before it is the host's. */
  readonly root: string
  /** How what belongs to no surface is refused. */
  readonly refuse: (refusal: Refusal) => HttpResponse
  /** Each with its path after the root; asked by POST. */
  readonly surfaces: readonly (readonly [path: RegExp, surface: Surface])[]
}

/** `new OpenAI({ baseURL: '…/api/v1' })` */
export const openaiDialect: Dialect = {
  root: 'v1',
  refuse: openaiRefusal,
  surfaces: [
    [/^\/chat\/completions$/, chatCompletions],
    [/^\/embeddings$/, openaiEmbeddings],
    [/^\/responses$/, openaiResponses],
  ],
}

/** `new AzureOpenAI({ endpoint: '…/api' })`, and the clients of Azure's `/openai/v1`. */
export const azureDialect: Dialect = {
  root: 'openai',
  refuse: azureRefusal,
  surfaces: [
    [/^\/deployments\/[^/]+\/chat\/completions$/, azureChatCompletions],
    [/^\/v1\/chat\/completions$/, azureV1ChatCompletions],
    [/^\/deployments\/[^/]+\/embeddings$/, azureEmbeddings],
    [/^\/v1\/embeddings$/, azureV1Embeddings],
    [/^(?:\/v1)?\/responses$/, azureResponses],
  ],
}

/**
 * The way in of all that a dialect's clients ask. A path that nothing is served at is a 404 that says why, and a wrong method a
 * 405; never a redirect, which these clients don't follow.
 *
 * @param gateway found for each request, so that a configuration fault is answered like any other
 */
export function dialectEntry(
  dialect: Dialect,
  gateway: () => Gateway,
  telemetry: TraceOptions['telemetry'] = NOT_EXPORTED,
): Entry {
  return trace({
    refuse: dialect.refuse,
    handler: () => byPath(dialect, gateway()),
    finished: tellingEnds(gateway),
    telemetry,
  })
}

const NOT_EXPORTED = () => undefined

const MODELS = /^(?:\/v1)?\/models(?:\/[^/]+)?$/

function byPath({ root, surfaces }: Dialect, gateway: Gateway): Handler {
  return function byPath(request, context) {
    const { method, url } = request
    const path = pathAfter(root, url)
    const [, surface] = surfaces.find(([pattern]) => pattern.test(path)) ?? []
    if (surface !== undefined)
      return method === 'POST' ? gateway.handler(surface)(request, context) : wrongMethod('POST')
    if (!MODELS.test(path)) return notServed('not_found', notFoundText(path))
    return method === 'GET' ? gateway.models(request, context) : wrongMethod('GET')
  }
}

/** In lower case, as the host looks at paths; without what a client may put at its end. */
function pathAfter(root: string, { pathname }: URL): string {
  const path = pathname.toLowerCase().replace(/\/+/g, '/').replace(/\/$/, '')
  const at = `${path}/`.indexOf(`/${root}/`)
  return at < 0 ? path : path.slice(at + root.length + 1)
}

function wrongMethod(allowed: string): Refusal {
  return notServed('method_not_allowed', `This path takes ${allowed} alone.`, allowed)
}

/** What these services have beside, by the first of its path, and why it is refused. */
const NOT_METERED: readonly (readonly [path: RegExp, what: string])[] = [
  [/^\/audio\b/, 'Audio is'],
  [/^\/(?:images|videos)\b/, 'Making images and videos is'],
  [/^\/(?:files|uploads|containers|vector_stores)\b/, 'Files are'],
  [/^\/batches\b/, 'Batches are'],
  [/^\/realtime\b/, 'Realtime sessions are'],
  [/^\/(?:assistants|threads)\b/, 'Assistants are'],
  [/^\/(?:fine_tuning|fine-tunes)\b/, 'Fine-tuning is'],
  [/^\/evals\b/, 'Evals are'],
  [/^\/moderations\b/, 'Moderations are'],
  [/^\/completions\b/, 'Legacy completions are'],
]

/** What is read, changed or ended after its answer, and why there is nothing of it here. */
const NOT_KEPT: readonly (readonly [path: RegExp, why: string])[] = [
  [
    /^\/responses\/input_tokens$/,
    "Counting tokens is not served. A request with the header 'x-tollgate-dry-run: true' is told the most that it may cost.",
  ],
  [
    /^\/responses\/./,
    "Nothing is kept: responses are served with 'store': false alone, so there is none to retrieve, cancel or delete. Keep the " +
      "answer's 'output', and send it with what comes next as 'input'.",
  ],
  [
    /^\/conversations\b/,
    "Nothing is kept, so there are no conversations. Send the whole of one as the 'input' of a response, with 'store': false.",
  ],
  [
    /^\/chat\/completions\/./,
    "Stored completions are not served: what a service keeps has no owner there but the gateway's key. Keep the answer itself.",
  ],
]

function notFoundText(path: string): string {
  const asked = path.replace(/^\/v1(?=\/)/, '').replace(/^\/deployments\/[^/]+(?=\/)/, '')
  const [, why] = NOT_KEPT.find(([pattern]) => pattern.test(asked)) ?? []
  if (why !== undefined) return why
  const [, what] = NOT_METERED.find(([pattern]) => pattern.test(asked)) ?? []
  if (what === undefined) return 'Nothing is served at this path.'
  return `${what} not served: what such a request takes can't be metered, and so no limit or budget could hold.`
}
