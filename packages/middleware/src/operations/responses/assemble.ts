import type { Usage } from '../../pipeline/index.ts'
import { isJson, type Json } from '../body.ts'
import { answerMade } from '../json-answer.ts'
import type { Answer, Assembler } from '../operation.ts'
import type { StreamEvent } from '../stream-event.ts'

/**
 * The response that a stream's last event holds whole. Some servers leave its items out there, which are then those that were told
 * done, in the order of their index.
 */
export function responseAssembler(): Assembler {
  const done = new Map<number, Json>()
  let response: Json | undefined
  return {
    add({ json }: StreamEvent): void {
      if (json === undefined) return
      const { type, output_index: index, item } = json
      if (type === 'response.output_item.done' && Number.isSafeInteger(index) && isJson(item))
        done.set(Number(index), item)
      if ((type === 'response.completed' || type === 'response.incomplete') && isJson(json.response)) {
        response = json.response
      }
    },
    answer(usage: Usage | undefined): Answer | undefined {
      if (response === undefined) return undefined
      const told = Array.isArray(response.output) ? response.output : []
      if (told.length > 0 || (done.size === 0 && Array.isArray(response.output))) return answerMade(response, usage)
      const items = [...done].sort(([a], [b]) => a - b).map(([, item]) => item)
      return answerMade({ ...response, output: items }, usage)
    },
  }
}
