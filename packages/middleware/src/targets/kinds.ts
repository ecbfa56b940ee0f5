import { azure } from './azure.ts'
import { generate } from './generate.ts'
import { openai } from './openai.ts'
import type { TargetKind } from './target-kind.ts'

/** The kinds that ship with Tollgate. A composition that has others passes its own list as `targetKinds`. */
export const TARGET_KINDS: readonly TargetKind[] = [azure, openai, generate]
