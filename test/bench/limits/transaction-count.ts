/** Takes what clients send on one connection, in whatever pieces, and tells how many transactions began in a piece. */
export type TransactionCount = (chunk: Buffer) => number

const HEAD_END = '\r\n\r\n'

/** HTTP/1.1 requests whose bodies have a `content-length`, or none. */
export function httpRequests(): TransactionCount {
  let head = ''
  let bodyLeft = 0
  return (chunk) => {
    let begun = 0
    let at = 0
    while (at < chunk.byteLength) {
      if (bodyLeft > 0) {
        const passed = Math.min(bodyLeft, chunk.byteLength - at)
        bodyLeft -= passed
        at += passed
        continue
      }
      if (head === '') begun += 1
      const had = head.length
      head += chunk.toString('latin1', at)
      const end = head.indexOf(HEAD_END, Math.max(0, had - HEAD_END.length))
      if (end < 0) break
      at += end + HEAD_END.length - had
      const headers = head.slice(0, end)
      if (/\r\ntransfer-encoding:/i.test(headers)) throw new Error('A request of unstated length can not be counted')
      bodyLeft = Number(/\r\ncontent-length: *(\d+)/i.exec(headers)?.[1] ?? 0)
      head = ''
    }
    return begun
  }
}

/** Redis's commands, as arrays of bulk strings (RESP 2). */
export function redisCommands(): TransactionCount {
  let line = ''
  let skip = 0
  return (chunk) => {
    let begun = 0
    let at = 0
    while (at < chunk.byteLength) {
      if (skip > 0) {
        const passed = Math.min(skip, chunk.byteLength - at)
        skip -= passed
        at += passed
        continue
      }
      const end = chunk.indexOf('\n', at)
      line += chunk.toString('latin1', at, end < 0 ? chunk.byteLength : end)
      if (end < 0) break
      at = end + 1
      if (line.startsWith('*')) begun += 1
      // A string's bytes, and the end of its line.
      if (line.startsWith('$')) skip = Number.parseInt(line.slice(1), 10) + 2
      line = ''
    }
    return begun
  }
}
