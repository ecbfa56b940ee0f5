import { createServer, type IncomingHttpHeaders } from 'node:http'
import type { AddressInfo } from 'node:net'
import { gunzipSync } from 'node:zlib'

export type OtlpAttributes = Readonly<Record<string, string | number | boolean>>

export interface OtlpSpan {
  readonly traceId: string
  readonly spanId: string
  readonly parentSpanId: string
  readonly name: string
  /** 1 internal, 2 server, 3 client. */
  readonly kind: number
  /** Nanoseconds since 1970. */
  readonly start: bigint
  readonly end: bigint
  readonly attributes: OtlpAttributes
  readonly events: readonly { readonly name: string; readonly attributes: OtlpAttributes }[]
  readonly failed: boolean
  readonly resource: OtlpAttributes
}

/** A point of a metric, as it was sent once: of a histogram with its count. */
export interface OtlpPoint {
  readonly metric: string
  readonly unit: string
  /** 1 delta, 2 cumulative. */
  readonly temporality: number
  readonly attributes: OtlpAttributes
  readonly sum: number
  readonly count: number | undefined
  readonly resource: OtlpAttributes
}

/** A collector of OpenTelemetry's own protocol, over HTTP in its binary form. */
export interface OtlpReceiver {
  /** For `OTEL_EXPORTER_OTLP_ENDPOINT`. */
  readonly url: string
  readonly spans: OtlpSpan[]
  readonly points: OtlpPoint[]
  /** What came, unpacked. */
  readonly bodies: Buffer[]
  readonly requests: { readonly path: string; readonly headers: IncomingHttpHeaders }[]
  /** The status of its answers: 200 until it is changed; 0 for none, ever. */
  status: number
  close(): Promise<void>
}

export async function startOtlpReceiver(): Promise<OtlpReceiver> {
  const server = createServer(async (request, response) => {
    const pieces: Buffer[] = []
    for await (const piece of request as AsyncIterable<Buffer>) pieces.push(piece)
    const sent = Buffer.concat(pieces)
    const body = request.headers['content-encoding'] === 'gzip' ? gunzipSync(sent) : sent
    const path = request.url ?? ''
    receiver.requests.push({ path, headers: request.headers })
    receiver.bodies.push(body)
    if (receiver.status === 200) {
      if (path.endsWith('/v1/traces')) receiver.spans.push(...spansIn(body))
      if (path.endsWith('/v1/metrics')) receiver.points.push(...pointsIn(body))
    }
    if (receiver.status === 0) return
    response.writeHead(receiver.status, { 'content-type': 'application/x-protobuf' }).end()
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const receiver: OtlpReceiver = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    spans: [],
    points: [],
    bodies: [],
    requests: [],
    status: 200,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
  return receiver
}

/** A field of a message: a number, or bytes. */
type Field = bigint | Buffer
/** A message of protocol buffers: the values of each field, by its number. */
type Message = ReadonlyMap<number, readonly Field[]>

/** https://protobuf.dev/programming-guides/encoding/ */
function messageOf(bytes: Buffer): Message {
  const fields = new Map<number, Field[]>()
  let at = 0
  const varint = (): bigint => {
    let value = 0n
    for (let shift = 0n; ; shift += 7n) {
      const byte = bytes[at++] ?? 0
      value |= BigInt(byte & 0x7f) << shift
      if (byte < 0x80) return value
    }
  }
  const take = (length: number) => {
    at += length
    return bytes.subarray(at - length, at)
  }
  while (at < bytes.length) {
    const tag = Number(varint())
    const type = tag & 7
    const value = type === 0 ? varint() : take(type === 1 ? 8 : type === 5 ? 4 : Number(varint()))
    fields.set(tag >> 3, [...(fields.get(tag >> 3) ?? []), value])
  }
  return fields
}

const all = (message: Message, field: number): Message[] =>
  (message.get(field) ?? []).map((value) => messageOf(value as Buffer))
const bytesOf = (message: Message, field: number) => (message.get(field)?.[0] ?? Buffer.alloc(0)) as Buffer
const textOf = (message: Message, field: number) => bytesOf(message, field).toString()
const numberOf = (message: Message, field: number) => Number(message.get(field)?.[0] ?? 0n)
const fixedOf = (message: Message, field: number) => bytesOf(message, field).readBigUInt64LE()

function attributesIn(message: Message, field: number): OtlpAttributes {
  return Object.fromEntries(
    all(message, field).map((pair) => {
      const [value = new Map()] = all(pair, 2)
      return [textOf(pair, 1), anyOf(value)]
    }),
  )
}

function anyOf(value: Message): string | number | boolean {
  if (value.has(2)) return numberOf(value, 2) === 1
  if (value.has(3)) return numberOf(value, 3)
  if (value.has(4)) return bytesOf(value, 4).readDoubleLE()
  return textOf(value, 1)
}

function spansIn(body: Buffer): OtlpSpan[] {
  return all(messageOf(body), 1).flatMap((ofResource) => {
    const resource = attributesIn(all(ofResource, 1)[0] ?? new Map(), 1)
    return all(ofResource, 2).flatMap((ofScope) =>
      all(ofScope, 2).map((span) => ({
        traceId: bytesOf(span, 1).toString('hex'),
        spanId: bytesOf(span, 2).toString('hex'),
        parentSpanId: bytesOf(span, 4).toString('hex'),
        name: textOf(span, 5),
        kind: numberOf(span, 6),
        start: fixedOf(span, 7),
        end: fixedOf(span, 8),
        attributes: attributesIn(span, 9),
        events: all(span, 11).map((event) => ({ name: textOf(event, 2), attributes: attributesIn(event, 3) })),
        failed: all(span, 15).some((status) => numberOf(status, 3) === 2),
        resource,
      })),
    )
  })
}

const SUM = 7
const HISTOGRAM = 9

function pointsIn(body: Buffer): OtlpPoint[] {
  return all(messageOf(body), 1).flatMap((ofResource) => {
    const resource = attributesIn(all(ofResource, 1)[0] ?? new Map(), 1)
    const metrics = all(ofResource, 2).flatMap((ofScope) => all(ofScope, 2))
    return metrics.flatMap((metric) => {
      const common = { metric: textOf(metric, 1), unit: textOf(metric, 3), resource }
      const sums = all(metric, SUM).flatMap((sum) =>
        all(sum, 1).map((point) => ({
          ...common,
          temporality: numberOf(sum, 2),
          attributes: attributesIn(point, 7),
          sum: point.has(6) ? Number(bytesOf(point, 6).readBigInt64LE()) : bytesOf(point, 4).readDoubleLE(),
          count: undefined,
        })),
      )
      const histograms = all(metric, HISTOGRAM).flatMap((histogram) =>
        all(histogram, 1).map((point) => ({
          ...common,
          temporality: numberOf(histogram, 2),
          attributes: attributesIn(point, 9),
          sum: bytesOf(point, 5).readDoubleLE(),
          count: Number(fixedOf(point, 4)),
        })),
      )
      return [...sums, ...histograms]
    })
  })
}
