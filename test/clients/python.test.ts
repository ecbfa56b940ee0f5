import { afterAll, beforeAll, describe, test } from 'vitest'
import { clientConforms } from './client-conforms.ts'
import { type Gateway, startGateway } from './gateway.ts'
import { Python, pythonClient } from './python.ts'

/* Python's `openai`, where the machine has it: `pip install openai`. What it does is said below the tables of docs/clients.md. */

const found = pythonClient()
if ('missing' in found) test.skip(`Python’s openai (${found.missing})`, () => {})
else
  describe(`Python’s openai ${found.version}`, () => {
    let gateway: Gateway
    let python: Python
    beforeAll(async () => {
      python = new Python()
      gateway = await startGateway()
    })
    afterAll(() => Promise.all([gateway?.stop(), python?.stop()]))

    for (const azure of [false, true])
      for (const responses of [false, true])
        clientConforms(
          {
            name: `Python’s ${azure ? 'AzureOpenAI' : 'OpenAI'}, ${responses ? 'responses' : 'chat completions'}`,
            packages: [],
            model: azure && !responses ? 'azure-chat' : 'chat',
            limitCode: azure ? '429' : 'rate_limit_exceeded',
            embeds: !responses,
            obeys: true,
            open: (origin, key) => python.session({ azure, responses, origin, key }),
          },
          () => gateway,
        )
  })
