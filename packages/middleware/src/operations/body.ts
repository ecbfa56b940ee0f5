/** A JSON object whose fields nobody has checked. */
export type Json = Readonly<Record<string, unknown>>

/** A request's JSON object: parsed once, its bytes kept. */
export interface Body {
  /** UTF-8. Made when they are first asked for, where the body did not come as bytes. */
  readonly bytes: Uint8Array
  readonly json: Json
  /**
   * The same with these top-level fields in the place of those of the same names, or at the end. Every other byte stays:
   * prompt caches hang on them, and whole numbers beyond 2^53 live in them alone.
   */
  with(fields: Json): Body
}

/** A body that is made here, of values. */
export function bodyOf(json: Json): Body {
  let bytes: Uint8Array | undefined
  return {
    json,
    get bytes() {
      bytes ??= Buffer.from(JSON.stringify(json))
      return bytes
    },
    with: (fields) => bodyOf({ ...json, ...fields }),
  }
}
