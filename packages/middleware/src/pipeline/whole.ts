const bodies = new WeakMap<Response, Buffer>()

/** A response whose body is all there, so that the rooms which need it don't have to read it from a stream again. */
export function wholeResponse(body: Buffer, init: ResponseInit): Response {
  const response = new Response(wholeStream(body), init)
  bodies.set(response, body)
  return response
}

/** Bytes as a stream of one piece. A body that is made of the bytes themselves copies them, into a stream that costs more. */
export function wholeStream(bytes: Uint8Array): ReadableStream<Uint8Array> {
  return new ReadableStream({
    start(controller) {
      if (bytes.byteLength > 0) controller.enqueue(bytes)
      controller.close()
    },
  })
}

/** The bytes of a response's body: not to be changed, and to be asked for once. Those of a whole response as they were given. */
export async function bodyOf(response: Response): Promise<Buffer> {
  return bodies.get(response) ?? Buffer.from(await response.arrayBuffer())
}
