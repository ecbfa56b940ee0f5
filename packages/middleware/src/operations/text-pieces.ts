/** The most that one piece of text holds, in characters, before the rest of its last word. */
const PIECE_LENGTH = 24
/** The most that the rest of a word may add. */
const WORD_LENGTH = 16
/** A text that is longer than so many pieces gets longer ones. */
const MAX_PIECES = 1_000

/** A text as a stream has it: pieces that end where a word does, if that is near, and never within a character beyond U+FFFF. */
export function* textPieces(text: string): Generator<string> {
  const length = Math.max(PIECE_LENGTH, Math.ceil(text.length / MAX_PIECES))
  for (const [piece] of text.matchAll(new RegExp(`.{1,${length}}\\S{0,${WORD_LENGTH}}`, 'gsu'))) yield piece
}
