import type { RunningHost } from '../../support/host.ts'
import type { ModelCalls } from './servers/model-server.ts'

/** What a model's server says that it was asked. */
export async function modelCalls(model: RunningHost): Promise<ModelCalls> {
  return (await (await fetch(`${model.url}/calls`)).json()) as ModelCalls
}

export async function forgetCalls(model: RunningHost): Promise<void> {
  await (await fetch(`${model.url}/calls`, { method: 'DELETE' })).text()
}

export async function setFailing(model: RunningHost, failing: boolean): Promise<void> {
  await (await fetch(`${model.url}/failing`, { method: failing ? 'PUT' : 'DELETE' })).text()
}
