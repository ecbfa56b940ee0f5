/** A place in the document as a fault names it: `plans.free.limits[0].per`. */
export function pathText(path: readonly PropertyKey[]): string {
  return path.reduce<string>((text, part) => `${text}${partText(part, text === '')}`, '')
}

/** What begins as keys do may be one that stands in the wrong place. */
const SECRET = /^(?:sk|tg)[-_]/i

function partText(part: PropertyKey, isFirst: boolean): string {
  if (typeof part === 'number') return `[${part}]`
  const name = String(part)
  if (SECRET.test(name)) return '["…"]'
  if (!/^[\w.$<>-]{1,64}$/.test(name)) return `[${JSON.stringify(name.length > 40 ? `${name.slice(0, 40)}…` : name)}]`
  return isFirst ? name : `.${name}`
}
