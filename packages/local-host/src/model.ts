/* `npm run model`: the simulated model alone, to point other programs at. */
import { SIMULATED_MODEL, startSimulatedModel } from './simulated-model/server.ts'

const DEFAULT_PORT = 7072
const port = Number(process.env.PORT || DEFAULT_PORT)
const { url, azureEndpoint } = await startSimulatedModel({ port }).catch((error: NodeJS.ErrnoException) => {
  const taken = error.code === 'EADDRINUSE'
  console.error(taken ? `Port ${port} is taken. Choose another: PORT=${port + 1} npm run model` : error.message)
  process.exit(1)
})
const ask = (model: string) =>
  `curl -i ${url}/chat/completions -d '{"model":"${model}","messages":[{"role":"user","content":"Why?"}]}'`
console.log(`
The simulated model answers on ${url} (Azure OpenAI's paths: ${azureEndpoint})

  # an answer
  ${ask(SIMULATED_MODEL)}

  # a refusal; docs/simulated-model.md lists what else there is
  ${ask(`${SIMULATED_MODEL}+status=429,retry-after=seconds:3`)}

Ctrl-C ends it.
`)
