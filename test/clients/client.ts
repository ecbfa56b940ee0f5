import { z } from 'zod'

/** A client as an application uses it, with the SDK's defaults. */
export interface Client {
  /** What of its packages is used, as the table calls it. */
  readonly name: string
  /** Whose versions the table shows. None: it is in no table. */
  readonly packages: readonly string[]
  /** A model of policy.yaml. */
  readonly model: string
  /** The `code` of a plan's limit: OpenAI's, and Azure's. */
  readonly limitCode: 'rate_limit_exceeded' | '429'
  /** Whether its sessions embed. */
  readonly embeds?: boolean
  /** Whether it does what a refusal says of trying again. Of the others the table shows what they do. */
  readonly obeys: boolean
  /**
   * @param origin of the gateway, without a path
   * @param key of the consumer
   */
  open(origin: string, key: string): Session
}

export interface Session {
  /** @returns the answer's text. @throws what the client throws */
  ask(prompt: string, options: Asking): Promise<string>
  /** The answer's text piece by piece. @throws what the client throws, or shows as an error */
  stream(prompt: string, options: Asking): AsyncIterable<string>
  /** Lets the model call the tool once, and gives it the result. @returns the text of its answer then */
  callTool(prompt: string, options: Asking & { readonly tool: Tool; readonly streamed: boolean }): Promise<string>
  /** An answer in the form of `Place`, as the client parses it. */
  parse(prompt: string, options: Asking): Promise<unknown>
  /** Where the client has embeddings at all. */
  readonly embed?: (inputs: string[], options: Asking) => Promise<readonly (readonly number[])[]>
}

/** The tool that is offered, `locate`. */
export type Tool = (input: { readonly place: string }) => string
/** What the tool takes. */
export const ToolInput = z.object({ place: z.string() })
/** What is parsed. */
export const Place = z.object({ place: z.string(), count: z.number() })

export interface Asking {
  readonly model: string
  readonly signal?: AbortSignal
}

/** What a client shows of a refusal, under the names that SDKs have for it. */
export interface Failure {
  readonly status: number | undefined
  readonly code: string | undefined
}

/** Looks through the errors that some clients wrap around the one that tells. */
export function failureOf(error: unknown): Failure {
  for (let each = error as Record<string, unknown> | undefined; typeof each === 'object' && each !== null; ) {
    const status = each.status ?? each.statusCode
    if (typeof status === 'number') return { status, code: codeOf(each) }
    each = (each.lastError ?? each.cause) as Record<string, unknown> | undefined
  }
  return { status: undefined, code: undefined }
}

function codeOf({ code, data, error }: Record<string, unknown>): string | undefined {
  if (typeof code === 'string') return code
  const inner = ((data as Record<string, unknown> | undefined)?.error ?? error) as Record<string, unknown> | undefined
  return typeof inner?.code === 'string' ? inner.code : undefined
}
