import type { Body } from '../body.ts'
import { type Conversation, listIn, openingOf, textsIn } from '../conversation.ts'

/** A chat's messages. */
export const conversation: Conversation = {
  turns: ({ json }) => listIn(json.messages).length,
  texts,
  tools: ({ json }) => (Array.isArray(json.tools) ? json.tools : listIn(json.functions)),
  hasSchema: ({ json }) => Object(json.response_format).type === 'json_schema',
  opening: ({ json }) => openingOf(listIn(json.messages)),
}

function* texts({ json }: Body): Generator<string, void> {
  for (const message of listIn(json.messages)) {
    const { content, tool_calls } = Object(message)
    yield* textsIn(content)
    for (const call of listIn(tool_calls)) {
      const { arguments: given } = Object(Object(call).function)
      if (typeof given === 'string') yield given
    }
  }
}
