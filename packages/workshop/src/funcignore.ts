/**
 * Whether Core Tools deploy a file, by the text of `.funcignore`. They read it in a way of their own: a path stays if a
 * line with `!` matches it, wherever that line stands, or no other line does; and a line matches every path that begins
 * with it and has the edge of a word there, so `!dist/index.js` lets dist/index.js.map by, and not dist/index.json.
 *
 * @returns takes a path from the root, with slashes
 */
export function funcignore(text: string): (path: string) => boolean {
  const lines = text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('#'))
  const kept = lines.filter((line) => line.startsWith('!')).map((line) => beginning(line.slice(1)))
  const left = lines.filter((line) => !line.startsWith('!')).map(beginning)
  const matches = (patterns: readonly RegExp[], path: string) => patterns.some((pattern) => pattern.test(path))
  return (path) => matches(kept, path) || !matches(left, path)
}

function beginning(pattern: string): RegExp {
  const parts = pattern.replace(/^\//, '').split(/(\*\*|\*)/)
  const source = parts.map((part) => (part === '**' ? '.+' : part === '*' ? '[^/]+' : literally(part)))
  return new RegExp(`^${source.join('')}\\b`)
}

function literally(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&')
}
