/*
 * The part of undici that sends requests over kept connections. By its index, which brings a fetch, WebSockets, caches and
 * mocks along, it takes some 60 ms to load; by its own file a third of that. It is a file of its own in what is deployed.
 */

// @ts-expect-error: undici has types for its index alone.
import PoolOfFile from 'undici/lib/dispatcher/pool.js'

export const Pool: typeof import('undici').Pool = PoolOfFile
