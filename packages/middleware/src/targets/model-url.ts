/*
 * The URL of a model's service, as people have it: the endpoint itself, or what Azure's portal shows beside a deployment,
 * which is the URL of one operation.
 */

/** A fault in such a URL. Its message goes on from the name of the setting, and holds neither path nor query. */
export class ModelUrlFault extends Error {}

/** Hosts of Azure OpenAI and Azure AI Foundry. */
const AZURE_AI_SUFFIXES: readonly string[] = [
  '.openai.azure.com',
  '.cognitiveservices.azure.com',
  '.services.ai.azure.com',
]
export const OPENAI_HOST = 'api.openai.com'

/** Pages to look at, which serve no model. */
const PORTALS = ['portal.azure.com', 'ai.azure.com', 'oai.azure.com', 'platform.openai.com']

/** Whether managed identity may be used for a URL: only Azure AI's own hosts are ever sent an Entra token. */
export function isAzureAiHost(url: URL): boolean {
  return url.protocol === 'https:' && isAzureAiName(url)
}

export interface AzureUrl {
  /** Without `/openai`, and all that comes after it. */
  readonly endpoint: URL
  /** `undefined` where the URL names none. */
  readonly deployment: string | undefined
  /** Of a dated API; `undefined` where the URL names none, or means `/openai/v1/`. */
  readonly apiVersion: string | undefined
}

/**
 * Reads an Azure endpoint in any form that the portal shows: `https://x.openai.azure.com`, with `/openai/v1/`, with
 * `/openai/deployments/<name>/chat/completions?api-version=…`, and a Foundry project's `/api/projects/<name>`.
 *
 * @throws ModelUrlFault for any other, saying what to write
 */
export function azureUrl(url: URL): AzureUrl {
  refusePortal(url)
  const dated = datedVersion(url)
  const segments = withoutProject(segmentsOf(url))
  const at = segments.findIndex((segment) => segment.toLowerCase() === 'openai')
  if (at < 0) {
    const endpoint = plainEndpoint(url, segments)
    // The versions of Foundry's `/models` are another API's.
    const isOther = isAzureAiName(url) && segments.length > 0
    return { endpoint, deployment: undefined, apiVersion: isOther ? undefined : dated }
  }
  const before = segments.slice(0, at)
  if (isAzureAiName(url) && before.length > 0) throw unknownPath()
  const endpoint = withPath(url, before)
  const [kind = '', ...rest] = segments.slice(at + 1)
  const operation = (parts: readonly string[]) => parts.join('/').toLowerCase()
  switch (kind.toLowerCase()) {
    case '':
      return { endpoint, deployment: undefined, apiVersion: dated }
    case 'v1':
      if (!V1_OPERATIONS.has(operation(rest))) throw unknownPath()
      return { endpoint, deployment: undefined, apiVersion: undefined }
    case 'responses':
    case 'models':
      return { endpoint, deployment: undefined, apiVersion: undefined }
    case 'deployments': {
      const [deployment, ...parts] = rest
      const asked = operation(parts)
      if (asked !== '' && asked !== 'chat/completions') throw otherOperation()
      return { endpoint, deployment: deployment && decoded(deployment), apiVersion: dated }
    }
    default:
      throw unknownPath()
  }
}

/** Whether a URL is Azure's, or a gateway's that speaks like Azure, in a form that no other client takes as its base. */
export function isAzureForm(url: URL): boolean {
  const path = `/${segmentsOf(url).join('/').toLowerCase()}/`
  if (path.includes('/openai/deployments/') || path.startsWith('/api/projects/')) return true
  return isAzureAiName(url) && !path.startsWith('/openai/v1/')
}

/**
 * Reads the base URL of a server that speaks OpenAI's language, also where it is the URL of one operation.
 *
 * @throws ModelUrlFault for one that would be no base, saying what to write
 */
export function openaiUrl(url: URL): URL {
  refusePortal(url)
  const segments = segmentsOf(url)
  const tail = OPERATIONS.find((operation) => endsWith(segments, operation)) ?? []
  const base = segments.slice(0, segments.length - tail.length)
  if (isAzureAiName(url)) datedVersion(url)
  else refuseQuery(url)
  if (url.hostname === OPENAI_HOST && base.length === 0) return withPath(url, ['v1'])
  // A list of models stands beside a version; `/models` elsewhere is a base like any other.
  const isList = endsWith(base, ['v1', 'models'])
  return withPath(url, isList ? base.slice(0, -1) : base)
}

const OPERATIONS: readonly (readonly string[])[] = [
  ['chat', 'completions'],
  ['completions'],
  ['responses'],
  ['embeddings'],
]
const V1_OPERATIONS: ReadonlySet<string> = new Set([
  '',
  'models',
  ...OPERATIONS.map((operation) => operation.join('/')),
])

/** An endpoint without `/openai`. Azure's own hosts have nothing more; a gateway before them may have a path. */
function plainEndpoint(url: URL, segments: readonly string[]): URL {
  const path = segments.join('/').toLowerCase()
  if (isAzureAiName(url)) {
    if (path !== '' && path !== 'models' && path !== 'models/chat/completions') throw unknownPath()
    return withPath(url, [])
  }
  const isBase = path === 'v1' || path.endsWith('/v1') || OPERATIONS.some((operation) => endsWith(segments, operation))
  if (url.hostname === OPENAI_HOST || isBase) {
    throw new ModelUrlFault(
      'is no Azure endpoint but the URL of another OpenAI-compatible server. Put it into OPENAI_BASE_URL, or in a policy ' +
        'into openai: {baseUrl: …}.',
    )
  }
  return withPath(url, segments)
}

function segmentsOf({ pathname }: URL): string[] {
  return pathname.split('/').filter((segment) => segment !== '')
}

function withoutProject(segments: readonly string[]): readonly string[] {
  const [api, projects, name] = segments
  const isProject = api?.toLowerCase() === 'api' && projects?.toLowerCase() === 'projects' && name !== undefined
  return isProject ? segments.slice(3) : segments
}

function withPath(url: URL, segments: readonly string[]): URL {
  return new URL(`/${segments.join('/')}`, url.origin)
}

function endsWith(segments: readonly string[], tail: readonly string[]): boolean {
  return segments.slice(-tail.length).join('/').toLowerCase() === tail.join('/')
}

function isAzureAiName({ hostname }: URL): boolean {
  return AZURE_AI_SUFFIXES.some((suffix) => hostname.endsWith(suffix))
}

/** @returns `undefined` for none, and for the words that mean `/openai/v1/` */
function datedVersion(url: URL): string | undefined {
  refuseQuery(url, 'api-version')
  const version = url.searchParams.get('api-version') ?? ''
  if (meansV1(version)) return undefined
  if (isDated(version)) return version
  throw new ModelUrlFault("has an 'api-version' that is no date, such as 2024-10-21. Correct it, or leave it out.")
}

/** Whether a version of the API says in words, or by saying nothing, what `/openai/v1/` serves. */
export function meansV1(version: string): boolean {
  return /^(?:|v1|preview|latest)$/i.test(version)
}

export function isDated(version: string): boolean {
  return /^\d{4}-\d{2}-\d{2}(?:-[\w.]+)?$/.test(version)
}

function refuseQuery({ searchParams }: URL, ...known: readonly string[]): void {
  if ([...searchParams.keys()].every((name) => known.includes(name))) return
  throw new ModelUrlFault('holds a query, which would not be sent. Take out what begins with the ?.')
}

function refusePortal(url: URL): void {
  const { hostname } = url
  const isPortal = PORTALS.some((portal) => hostname === portal || hostname.endsWith(`.${portal}`))
  // Foundry's model hosts end like its portal.
  if (!isPortal || isAzureAiName(url)) return
  throw new ModelUrlFault(
    `is the address of a page on ${hostname}. Write the endpoint that the page shows, such as ` +
      'https://<resource>.openai.azure.com.',
  )
}

function unknownPath(): ModelUrlFault {
  return new ModelUrlFault(
    'has a path that Azure does not serve chat completions under. Write https://<resource>.openai.azure.com alone.',
  )
}

function otherOperation(): ModelUrlFault {
  return new ModelUrlFault(
    'is the URL of an operation that is not chat completions. Write https://<resource>.openai.azure.com alone, and name a ' +
      'deployment of a chat model.',
  )
}

function decoded(segment: string): string {
  try {
    return decodeURIComponent(segment)
  } catch {
    throw unknownPath()
  }
}
