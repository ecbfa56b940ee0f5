/**
 * Rows of text in aligned columns, the first row their titles.
 *
 * @param numbersFrom the columns from this one on are numbers: their points stand below each other
 */
export function columns(rows: readonly (readonly string[])[], numbersFrom = Number.POSITIVE_INFINITY): string {
  const widest = (parts: readonly string[]) => Math.max(...parts.map((part) => part.length))
  const aligned = (rows[0] ?? []).map((title, column) => {
    const cells = rows.map((row) => row[column] ?? '')
    if (column < numbersFrom) return cells.map((cell) => cell.padEnd(widest(cells)))
    const decimals = widest(cells.slice(1).map(decimalsOf))
    const padded = cells.slice(1).map((cell) => cell + ' '.repeat(decimals - decimalsOf(cell).length))
    const all = [title, ...padded]
    return all.map((cell) => cell.padStart(widest(all)))
  })
  return rows
    .map((_row, index) =>
      aligned
        .map((cells) => cells[index])
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}

/** The point of a number and what follows. */
function decimalsOf(cell: string): string {
  return /\.\d+$/.exec(cell)?.[0] ?? ''
}
