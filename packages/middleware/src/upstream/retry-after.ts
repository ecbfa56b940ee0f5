/** An HTTP date (RFC 9110, 5.6.7), in the form that is to be sent, or the older one with the day's full name. */
const HTTP_DATE =
  /^(?:[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4}|[A-Z][a-z]{5,8}, \d{2}-[A-Z][a-z]{2}-\d{2}) \d{2}:\d{2}:\d{2} GMT$/
const NUMBER = /^\d{1,15}(?:\.\d{1,15})?$/

/**
 * How long a model's server says to wait, in milliseconds: by `retry-after-ms`, or else by `Retry-After`, in seconds or as
 * a date, which is read by the server's own clock (`Date`) where it tells one.
 *
 * @param wallClock milliseconds since 1970
 * @returns `undefined` where it says nothing that can be understood
 */
export function retryAfterOf(headers: Headers, wallClock: () => number = Date.now): number | undefined {
  const ms = headers.get('retry-after-ms') ?? ''
  if (NUMBER.test(ms)) return Number(ms)
  const after = headers.get('retry-after') ?? ''
  if (NUMBER.test(after)) return Number(after) * 1_000
  const until = dateOf(after)
  if (until === undefined) return undefined
  return Math.max(0, until - (dateOf(headers.get('date') ?? '') ?? wallClock()))
}

function dateOf(text: string): number | undefined {
  if (!HTTP_DATE.test(text)) return undefined
  const time = Date.parse(text)
  return Number.isNaN(time) ? undefined : time
}
