import { type GenerationStore, newGeneration } from '../generation-store.ts'

export interface MemoryGenerationOptions {
  /** Milliseconds since 1970. */
  readonly wallClock: () => number
}

/** Generations of one process, gone with it, as its completions are. */
export function memoryGenerationStore({ wallClock }: MemoryGenerationOptions): GenerationStore {
  const generations = new Map<string, { readonly generation: string; readonly purgedAt: number }>()
  return {
    list: async () => new Map([...generations].map(([subject, { generation }]) => [subject, generation])),
    async renew(subject) {
      generations.set(subject, { generation: newGeneration(), purgedAt: wallClock() })
    },
    async sweep(before) {
      const old = [...generations].filter(([, { purgedAt }]) => purgedAt < before)
      for (const [subject] of old) generations.delete(subject)
      return { removed: old.length }
    },
  }
}
