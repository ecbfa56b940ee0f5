import { createInterface } from 'node:readline/promises'
import { CommandFault } from './command-fault.ts'

/** Where a person can be asked; `undefined` where none sits. Gives what was typed. */
export type Ask = ((question: string) => Promise<string>) | undefined

/** What can't be undone is confirmed by `--yes`, or by a word that is typed. @throws CommandFault where it is not */
export async function confirm(what: string, word: string, yes: boolean | undefined, ask = atTerminal()): Promise<void> {
  if (yes) return
  if (ask === undefined) throw new CommandFault(`${what} This can't be undone: say --yes.`)
  const typed = await ask(`${what} This can't be undone. Type ${word} to go on: `)
  if (typed.trim() !== word) throw new CommandFault('Nothing was changed.')
}

function atTerminal(): Ask {
  const { stdin: input, stderr: output } = process
  if (!input.isTTY) return undefined
  return async (question) => {
    const lines = createInterface({ input, output })
    try {
      return await lines.question(question)
    } finally {
      lines.close()
    }
  }
}
