const POLYNOMIAL = 0xedb88320

/** CRC-32 of a text in ASCII (ISO 3309, as in zip). Node's own, in `node:zlib`, came with 22.2, and 22.0 is to do. */
export function crc32(text: string): number {
  let crc = 0xffffffff
  for (const byte of Buffer.from(text)) {
    crc ^= byte
    for (let bit = 0; bit < 8; bit += 1) crc = (crc >>> 1) ^ (crc & 1 ? POLYNOMIAL : 0)
  }
  return ~crc >>> 0
}
