/** The errors whose messages the JavaScript engine and Node write; those of a `SyntaxError` quote the text that was parsed. */
const TOLD = [TypeError, ReferenceError, RangeError]

const MAX_CHARS = 200
const CUT = '…'

/** A property's name; the engine quotes it, and it stands in the source. */
const PROPERTY = /\((reading|setting) '([A-Za-z_$]{1,24})'\)/g
/** What follows these words is a value. */
const BEFORE_VALUE = /(\boperator to search for|\bReceived|\bIterator value|\bparse URL from|:) .+$/
/** From the first opening quote to the last quote, or to the end. An apostrophe within a word opens nothing. */
const QUOTED = /(?<!\w)["'`](?:.*["'`]|.*$)/
/** What precedes these words is the source's text, or a value that was called, constructed or iterated. */
const AFTER_SUBJECT = /^(.+?)(?= is not (?:a function|a constructor|iterable|defined|an object)\b)/
/** `record`, `context.record.usage`, `(intermediate value).map` */
const SOURCE_PATH = /^(?:\(intermediate value\)|[\w$]+)(?:\.#?[\w$]+|\[[\w$.]+\]|\(\.{3}\))*$/

/**
 * The message of a programming fault for a log, on one line of at most 200 characters: what the engine says of it, and no
 * value that it says it of. Whatever is quoted is cut, and so is what stands unquoted in a value's place, or looks like a
 * key, a token, an address or a connection string. `undefined` for an error of any other class, because libraries put
 * into those what they were given: keys, prompts, connection strings.
 */
export function faultMessage(fault: Error): string | undefined {
  if (!TOLD.some((Told) => fault instanceof Told || fault.name === Told.name)) return undefined
  const [line = ''] = fault.message.split('\n')
  const told = line
    .replace(PROPERTY, '($1 $2)')
    .replace(BEFORE_VALUE, `$1 ${CUT}`)
    .replace(QUOTED, `'${CUT}'`)
    .replace(AFTER_SUBJECT, (subject) => (SOURCE_PATH.test(subject) ? subject : CUT))
    .replace(/\S+/g, (word) => (isSecretLike(word) ? CUT : word))
  return told.length > MAX_CHARS ? `${told.slice(0, MAX_CHARS)}${CUT}` : told
}

/** An address, a part of a connection string, or a word that is longer or has more digits than a name in a source has. */
function isSecretLike(word: string): boolean {
  if (/[@=\\/]|^(?:tg_|sk-)/.test(word)) return true
  return word.split(/[^\w+-]/).some((part) => part.length > 24 || (part.length > 12 && /\d/.test(part)))
}
