const POLYNOMIAL = 0xedb88320

/** What each byte makes of the remainder. */
const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte
  for (let bit = 0; bit < 8; bit += 1) crc = (crc >>> 1) ^ (crc & 1 ? POLYNOMIAL : 0)
  return crc
})

/** CRC-32 of a text in ASCII (ISO 3309, as in zip). Node's own, in `node:zlib`, came with 22.2, and 22.0 is to do. */
export function crc32(text: string): number {
  let crc = 0xffffffff
  for (let at = 0; at < text.length; at += 1) {
    crc = (crc >>> 8) ^ (TABLE[(crc ^ text.charCodeAt(at)) & 0xff] ?? 0)
  }
  return ~crc >>> 0
}
