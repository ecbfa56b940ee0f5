import { expect, test } from 'vitest'
import { modelCall } from '../../../../test/support/model-call.ts'
import { bodyOf, chat, type Json, type Operation, responses } from '../operations/index.ts'
import { conversationKey, SESSION_HEADERS } from './conversation-key.ts'

const ALICE = { consumer: 'alice', model: 'chat' }
const keyOf = (operation: Operation, json: Json, headers: Record<string, string> = {}, talking = ALICE) =>
  conversationKey(modelCall({ operation, body: bodyOf(json), headers: new Headers(headers) }), talking)()

const user = (content: string) => ({ role: 'user', content })
const FIRST = [{ role: 'system', content: 'Be brief' }, user('Why?')]
const LATER = [...FIRST, { role: 'assistant', content: 'Because' }, user('And then?')]

test.each<[string, Operation, Json, Json, Json]>([
  [
    'a chat',
    chat,
    { messages: FIRST },
    { messages: LATER, temperature: 0 },
    { messages: [...FIRST.slice(0, 1), user('How?')] },
  ],
  [
    'a chat without a user',
    chat,
    { messages: [{ role: 'tool', content: 'a' }] },
    {
      messages: [
        { role: 'tool', content: 'a' },
        { role: 'tool', content: 'b' },
      ],
    },
    { messages: [{ role: 'tool', content: 'b' }] },
  ],
  [
    'a response',
    responses,
    { instructions: 'Be brief', input: [user('Why?')] },
    { instructions: 'Be brief', input: [user('Why?'), user('And?')] },
    { input: [user('Why?')] },
  ],
  ['a response to a text', responses, { input: 'Why?' }, { input: 'Why?', temperature: 0 }, { input: 'How?' }],
])('%s is known by its beginning', (_what, operation, first, later, other) => {
  expect(keyOf(operation, later)).toBe(keyOf(operation, first))
  expect(keyOf(operation, other)).not.toBe(keyOf(operation, first))
})

test('a session’s header counts before the beginning, and a prompt cache key before that', () => {
  for (const name of SESSION_HEADERS) {
    const named = keyOf(chat, { messages: FIRST }, { [name]: 's1' })
    expect(keyOf(chat, { messages: [user('Anything')] }, { [name]: 's1' })).toBe(named)
    expect(keyOf(chat, { messages: FIRST }, { [name]: 's2' })).not.toBe(named)
  }
  const cached = { messages: FIRST, prompt_cache_key: 'k' }
  expect(keyOf(chat, cached, { 'x-session-id': 's1' })).toBe(keyOf(chat, { ...cached, messages: LATER.slice(1) }))
  expect(keyOf(chat, { messages: FIRST, prompt_cache_key: '' })).toBe(keyOf(chat, { messages: FIRST }))
  expect(keyOf(chat, { messages: FIRST, prompt_cache_key: 's1' })).not.toBe(
    keyOf(chat, { messages: FIRST }, { 'x-session-id': 's1' }),
  )
})

test('a conversation is one consumer’s, with one model, whatever they name it', () => {
  const named = (talking: typeof ALICE) => keyOf(chat, { messages: FIRST, prompt_cache_key: 'k' }, {}, talking)
  expect(new Set([named(ALICE), named({ ...ALICE, consumer: 'bob' }), named({ ...ALICE, model: 'small' })]).size).toBe(
    3,
  )
})

test('it is worked out once, when it is asked for', () => {
  let asked = 0
  const conversation = { ...chat.conversation, opening: () => asked++ }
  const operation = { ...chat, conversation } as Operation
  const key = conversationKey(modelCall({ operation }), ALICE)
  expect(asked).toBe(0)
  expect(key()).toBe(key())
  expect(asked).toBe(1)
})
