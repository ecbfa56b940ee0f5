export { type CompletionsOptions, completions } from './completions.ts'
export { generate } from './generate.ts'
export type { Decoded, EventWriter, Surface } from './surface.ts'
export { EVENT_STREAM_HEADERS } from './written-stream.ts'
