/** A place in the document as a fault names it: `plans.free.limits[0].per`. */
export function pathText(path: readonly PropertyKey[]): string {
  return path.reduce<string>((text, part) => `${text}${partText(part, text === '')}`, '')
}

function partText(part: PropertyKey, isFirst: boolean): string {
  if (typeof part === 'number') return `[${part}]`
  const name = String(part)
  if (!/^[\w.$<>-]{1,80}$/.test(name)) return `[${JSON.stringify(name.length > 40 ? `${name.slice(0, 40)}…` : name)}]`
  return isFirst ? name : `.${name}`
}
