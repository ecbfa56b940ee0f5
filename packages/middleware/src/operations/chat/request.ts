/** A chat completion's body in OpenAI's shape. Fields that we don't know are kept. */
export interface ChatBody {
  /** The name that the target knows the model by. */
  readonly model: string
  readonly messages: readonly ChatMessage[]
  readonly temperature?: number
  readonly max_tokens?: number
  readonly stream?: boolean
  readonly [field: string]: unknown
}

export interface ChatMessage {
  readonly role: string
  readonly content: unknown
}

/** What a route's callers asked for, in one form for all routes. */
export interface CompletionRequest {
  /** A name from the policy; `undefined` for the route's default. */
  readonly model: string | undefined
  readonly body: Omit<ChatBody, 'model'>
  /** What stands for the prompt in logs: hashed, never written. */
  readonly prompt: string
}
