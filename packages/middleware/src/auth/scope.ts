/** What a key may do: `call` asks models, `read` sees usage and metrics, of all consumers, `admin` sees and changes all that can be managed. */
export const SCOPES = ['call', 'read', 'admin'] as const
export type Scope = (typeof SCOPES)[number]

/** Of a key for which none was named, and of each that was made before there were scopes. */
export const DEFAULT_SCOPES: readonly Scope[] = ['call']
