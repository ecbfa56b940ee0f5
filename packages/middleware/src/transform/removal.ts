import { withoutWhiteSpace } from './json-text.ts'
import { lineFeedsOnly } from './line-break.ts'

/** A piece of a text that was made smaller, as it was, and by what. */
export interface Removal {
  readonly kind: keyof typeof SHRINK
  readonly before: string
}

/** What each transform makes of a piece. Of the piece's beginning it makes the beginning of the same. */
export const SHRINK = {
  eol: lineFeedsOnly,
  json: withoutWhiteSpace,
  dup: () => '',
} as const
