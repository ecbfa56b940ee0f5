import { readFileSync } from 'node:fs'
import { CommandFault } from './command-fault.ts'

/** Reads what is piped into a command; `undefined` where a person sits in its place. */
export type ReadInput = () => Promise<Uint8Array | undefined>

export function readingAll(input: NodeJS.ReadStream): ReadInput {
  return async () => {
    if (input.isTTY) return undefined
    return Buffer.concat(await Array.fromAsync(input as AsyncIterable<Buffer>))
  }
}

/** The body of a request: of a file, or piped in. @throws CommandFault where there is none */
export async function readRequest(file: string | undefined, readInput: ReadInput): Promise<Uint8Array> {
  if (file !== undefined && file !== '-') {
    try {
      return readFileSync(file)
    } catch (error) {
      throw new CommandFault(`--file: '${file}' can't be read (${(error as NodeJS.ErrnoException).code ?? 'failed'}).`)
    }
  }
  const bytes = await readInput()
  if (bytes !== undefined && bytes.byteLength > 0) return bytes
  throw new CommandFault('There is no request: name a file by --file, or pipe its JSON in: … < request.json')
}
