import { connect } from 'node:net'

/** One connection of HTTP/1.1, byte by byte: for what no client would send, and for what becomes of the connection. */
export interface RawConnection {
  write(text: string): void
  /** Resolves with the next answer's head, when it has come; with '' when the connection has ended instead. */
  head(): Promise<string>
  /** Resolves when the connection has ended, with all that came. */
  ended(): Promise<string>
  close(): void
}

export function rawConnection(url: string): RawConnection {
  const { hostname, port } = new URL(url)
  const socket = connect(Number(port), hostname)
  let all = ''
  let seen = 0
  const waiting = new Set<() => void>()
  const wake = () => {
    for (const each of waiting) each()
  }
  socket.setEncoding('latin1').on('data', (text: string) => {
    all += text
    wake()
  })
  // A reset shows as an end without an answer.
  socket.on('error', () => {})
  socket.on('close', wake)
  const until = (found: () => boolean) =>
    new Promise<void>((resolve) => {
      const look = () => {
        if (!found() && !socket.closed) return
        waiting.delete(look)
        resolve()
      }
      waiting.add(look)
      look()
    })
  return {
    write: (text) => void socket.write(text),
    async head() {
      await until(() => /HTTP\/1\.1 [\s\S]*?\r\n\r\n/.test(all.slice(seen)))
      const head = /HTTP\/1\.1 [\s\S]*?\r\n\r\n/.exec(all.slice(seen))
      if (head === null) return ''
      seen += head.index + head[0].length
      return head[0]
    },
    async ended() {
      await until(() => false)
      return all
    },
    close: () => void socket.destroy(),
  }
}
