import { type AnswerHeaders, headerOf } from './transports/index.ts'

/** As Azure sends it, and as its page spells it: with the deployment's own name in the header's. */
const FROM = 'x-ms-spillover-from-'
const SERVED_BY = 'x-ms-deployment-name'

/**
 * The deployment that served in the place of a provisioned one that had no room, by the headers of its answer; `undefined` where
 * that one served itself. Which deployment it was may be left untold: then it is called `unknown`.
 */
export function servedElsewhere(headers: AnswerHeaders, deployment: string | undefined): string | undefined {
  const served = headerOf(headers, SERVED_BY)
  const isTold = Object.keys(headers).some((name) => name.startsWith(FROM) && headers[name])
  const isOther = served && deployment && served.toLowerCase() !== deployment.toLowerCase()
  if (!isTold && !isOther) return undefined
  return served !== undefined && /^[\w.-]{1,64}$/.test(served) ? served : 'unknown'
}
