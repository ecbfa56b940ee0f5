import type { Mutant } from './mutants.ts'

/** Defects by which money would escape: the model's own bill must show each. Files are named from `limits/`. */
export const BILL_MUTANTS: readonly Mutant[] = []
