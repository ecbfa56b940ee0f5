import { type Body, embeddings, inputsIn, MAX_INPUTS } from '../operations/index.ts'
import type { Refusal } from '../pipeline/index.ts'
import { fieldNames } from './field-names.ts'
import { azureRefusal, openaiRefusal } from './openai-error.ts'
import { deploymentIn, flawed, flawedModel, invalidField, isLeftOut } from './openai-request.ts'
import type { Decoded, EventWriter, Surface } from './surface.ts'

/*
 * POST /embeddings, as the clients of OpenAI and of Azure OpenAI speak it: the body goes on as it came, and the answer comes back as
 * it came. docs/embeddings.md is the contract.
 */

/** OpenAI's: the body's `model` is a name of the policy. */
export const openaiEmbeddings: Surface = {
  name: 'embeddings',
  operation: embeddings,
  route: 'embeddings',
  decode: (body) => decode(body, body.json.model),
  encode: ({ bytes }) => bytes,
  events: notStreamed,
  refuse: openaiRefusal,
}

/** Azure OpenAI's `/openai/v1`: the same, with Azure's errors. */
export const azureV1Embeddings: Surface = { ...openaiEmbeddings, name: 'azure-v1-embeddings', refuse: azureRefusal }

/** Azure OpenAI's `/openai/deployments/{deployment}`: the path's name decides, and the body's `model` means nothing. */
export const azureEmbeddings: Surface = {
  ...azureV1Embeddings,
  name: 'azure-embeddings',
  decode: (body, { url }) => decode(body, deploymentIn(url)),
}

const misread = fieldNames()

function decode(body: Body, model: unknown): Decoded | Refusal {
  if (body.flaw !== undefined) return flawed(body.flaw)
  const misnamed = misread(body.json)
  if (misnamed !== undefined) return misnamed
  const { input } = body.json
  const unnamed = flawedModel(model)
  if (unnamed !== undefined) return unnamed
  const inputs = inputsIn(input)
  if (inputs === undefined) {
    return invalidField('input', 'a text, a list of texts, a list of tokens, or a list of lists of tokens')
  }
  if (inputs.count > MAX_INPUTS) return invalidField('input', `at most ${MAX_INPUTS} texts or lists of tokens long`)
  return {
    model: isLeftOut(model) ? undefined : (model as string),
    prompt: typeof input === 'string' ? input : JSON.stringify(input),
    streamed: false,
    body: 'model' in body.json ? body.with({ model: undefined }) : body,
  }
}

function notStreamed(): EventWriter {
  throw new Error('Embeddings are not streamed')
}
