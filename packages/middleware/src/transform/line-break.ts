/** The length of the line break that begins at `at`; 0 where none does. */
export function breakAfter(text: string, at: number): number {
  if (text[at] === '\n') return 1
  if (text[at] !== '\r') return 0
  return text[at + 1] === '\n' ? 2 : 1
}

/** The length of the line break that ends at `at`; 0 where none does. */
export function breakBefore(text: string, at: number): number {
  if (text[at - 1] === '\r') return 1
  if (text[at - 1] !== '\n') return 0
  return text[at - 2] === '\r' ? 2 : 1
}

/** Every line break as a line feed alone. */
export function lineFeedsOnly(text: string): string {
  return text.replace(/\r\n?/g, '\n')
}
