import type { Mutant } from './mutants.ts'

/** Defects by which a request would leave its zone, or be charged for twice. Files are named from `limits/`. */
export const ROUTED_MUTANTS: readonly Mutant[] = []
