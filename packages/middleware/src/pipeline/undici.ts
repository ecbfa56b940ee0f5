/*
 * The parts of undici that send requests over kept connections. By its index, which brings a fetch, WebSockets, caches and
 * mocks along, they take some 60 ms to load; by their own files a third of that. This is a file of its own in what is
 * deployed.
 */

// @ts-expect-error: undici has types for its index alone.
import connect from 'undici/lib/api/api-connect.js'
// @ts-expect-error
import AgentOfFile from 'undici/lib/dispatcher/agent.js'
// @ts-expect-error
import Dispatcher from 'undici/lib/dispatcher/dispatcher.js'
// @ts-expect-error
import EnvHttpProxyAgentOfFile from 'undici/lib/dispatcher/env-http-proxy-agent.js'
// @ts-expect-error
import PoolOfFile from 'undici/lib/dispatcher/pool.js'

type Undici = typeof import('undici')

export const Agent: Undici['Agent'] = AgentOfFile
export const EnvHttpProxyAgent: Undici['EnvHttpProxyAgent'] = EnvHttpProxyAgentOfFile
export const Pool: Undici['Pool'] = PoolOfFile

// As undici's index does: by it an agent opens its way through a proxy.
Dispatcher.prototype.connect = connect
