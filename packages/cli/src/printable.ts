/** A terminal acts on control characters, and what is printed was written by others: only line ends and tabs are kept. */
export function printable(text: string): string {
  return text.replace(/[^\P{Cc}\n\t]|[\u202a-\u202e\u2066-\u2069]/gu, '?')
}

/** The same for what must not begin a line of its own: a name in a table or a sentence. */
export function onOneLine(text: string): string {
  return printable(text).replace(/[\n\t]/g, '?')
}
