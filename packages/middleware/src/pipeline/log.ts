export type LogLevel = 'info' | 'warn' | 'error'

/** Writes one structured line. Fields must hold neither secrets nor prompts. */
export type Log = (level: LogLevel, event: string, fields?: Readonly<Record<string, unknown>>) => void
