import { expect, test } from 'vitest'
import { type Ask, confirm } from './confirm.ts'

const typing =
  (text: string): Ask =>
  async (question) => {
    expect(question).toBe("Forgets 'alice'. This can't be undone. Type alice to go on: ")
    return text
  }
const asked = (text: string) => confirm("Forgets 'alice'.", 'alice', undefined, typing(text))

test('what can’t be undone is done where the word is typed, and only then', async () => {
  await asked('alice')
  await asked(' alice\n')
  for (const other of ['', 'y', 'yes', 'Alice', 'alice2']) {
    await expect(asked(other)).rejects.toThrow('Nothing was changed.')
  }
})

test('where nobody sits, or --yes is said, nobody is asked', async () => {
  await confirm("Forgets 'alice'.", 'alice', true, () => expect.fail('asked'))
  await expect(confirm("Forgets 'alice'.", 'alice', undefined)).rejects.toThrow(
    "Forgets 'alice'. This can't be undone: say --yes.",
  )
})
