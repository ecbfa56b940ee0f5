/**
 * FNV-1a of 32 bits, over UTF-16's units: quick, and no secret's. From 0 to 2³² − 1; the same in every process and version, since rows of
 * usage hold it.
 */
export function fnv1a(text: string): number {
  let hash = 0x811c9dc5
  for (let at = 0; at < text.length; at += 1) hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193)
  return hash >>> 0
}
