const bodies = new WeakMap<Response, Buffer<ArrayBuffer>>()

/** A response whose body is all there, so that the rooms which need it don't have to read it from a stream again. */
export function wholeResponse(body: Buffer<ArrayBuffer>, init: ResponseInit): Response {
  const response = new Response(body, init)
  bodies.set(response, body)
  return response
}

/** The bytes of a response's body: not to be changed, and to be asked for once. */
export async function bodyOf(response: Response): Promise<Buffer<ArrayBuffer>> {
  return bodies.get(response) ?? Buffer.from(await response.arrayBuffer())
}
