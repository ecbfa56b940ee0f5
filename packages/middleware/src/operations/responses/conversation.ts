import type { Body } from '../body.ts'
import { type Conversation, listIn, openingOf, textsIn } from '../conversation.ts'

/** The input of a response: a text, or items. */
export const conversation: Conversation = {
  turns: ({ json }) => (typeof json.input === 'string' ? 1 : listIn(json.input).length),
  texts,
  tools: ({ json }) => listIn(json.tools),
  hasSchema: ({ json }) => Object(Object(json.text).format).type === 'json_schema',
  opening: ({ json: { instructions = null, input } }) => [
    instructions,
    typeof input === 'string' ? input : openingOf(listIn(input)),
  ],
}

function* texts({ json: { instructions, input } }: Body): Generator<string, void> {
  if (typeof instructions === 'string') yield instructions
  if (typeof input === 'string') yield input
  for (const item of listIn(input)) {
    const { content, output, arguments: given } = Object(item)
    yield* textsIn(content)
    yield* textsIn(output)
    if (typeof given === 'string') yield given
  }
}
