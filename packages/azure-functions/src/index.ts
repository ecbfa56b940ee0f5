export { drainRequests, httpHandler, MAX_REQUEST_MS } from './http-adapter.ts'
