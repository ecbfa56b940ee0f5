/**
 * The same function, which works its result out once for two arguments, as objects, for as long as both are there: what a request asks for
 * again and again, of a policy and a caller or a model and its rights.
 *
 * @example
 * const subjectsOf = memoByTwo(resolve)
 */
export function memoByTwo<A extends object, B extends object, Result extends object>(
  make: (a: A, b: B) => Result,
): (a: A, b: B) => Result {
  const known = new WeakMap<A, WeakMap<B, Result>>()
  return (a, b) => {
    let ofA = known.get(a)
    if (ofA === undefined) {
      ofA = new WeakMap()
      known.set(a, ofA)
    }
    let result = ofA.get(b)
    if (result === undefined) {
      result = make(a, b)
      ofA.set(b, result)
    }
    return result
  }
}
