import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer as createProxy } from 'node:http'
import { createServer } from 'node:https'
import { type AddressInfo, connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { selfSigned } from './self-signed.ts'

/** What Application Insights is sent: an item of telemetry. */
export interface Envelope {
  readonly name: string
  readonly time: string
  readonly iKey?: string
  readonly sampleRate?: number
  readonly tags: Readonly<Record<string, string>>
  readonly data: { readonly baseType: string; readonly baseData: EnvelopeData }
}

export interface EnvelopeData {
  readonly id?: string
  readonly name?: string
  readonly type?: string
  readonly target?: string
  readonly success?: boolean
  readonly resultCode?: string
  readonly responseCode?: string
  readonly duration?: string
  readonly properties?: Readonly<Record<string, string>>
  readonly exceptions?: readonly { readonly typeName: string; readonly message: string; readonly stack?: string }[]
  readonly metrics?: readonly {
    readonly name: string
    readonly value: number
    readonly count?: number
    readonly min?: number
    readonly max?: number
  }[]
}

/** As Azure's own, since the SDK packs what it sends to those alone. */
const HOST = 'tollgate-0.in.applicationinsights.azure.com'

/**
 * Application Insights' ingestion, as a server of our own under the name of one of Azure's, which a proxy leads to: it takes what
 * is sent to `/v2.1/track`.
 */
export interface Ingestion {
  /** For `HTTPS_PROXY`. */
  readonly proxy: string
  /** For `APPLICATIONINSIGHTS_CONNECTION_STRING`. */
  readonly connectionString: string
  /** For `NODE_EXTRA_CA_CERTS`: its certificate. */
  readonly certificateFile: string
  readonly envelopes: Envelope[]
  /** What came, unpacked. */
  readonly bodies: string[]
  readonly requests: {
    readonly path: string
    readonly encoding: string | undefined
    readonly authorization: string | undefined
  }[]
  /** The status of its answers: 200 until it is changed. */
  status: number
  close(): Promise<void>
}

export async function startIngestion(): Promise<Ingestion> {
  const folder = mkdtempSync(join(tmpdir(), 'tollgate-ingestion-'))
  const { cert, key } = selfSigned(HOST)
  const certificateFile = join(folder, 'certificate.pem')
  writeFileSync(certificateFile, cert)
  const server = createServer({ cert, key }, async (request, response) => {
    const pieces: Buffer[] = []
    for await (const piece of request as AsyncIterable<Buffer>) pieces.push(piece)
    const sent = Buffer.concat(pieces)
    const encoding = request.headers['content-encoding']
    const { authorization } = request.headers
    const text = (encoding === 'gzip' ? gunzipSync(sent) : sent).toString()
    ingestion.requests.push({ path: request.url ?? '', encoding, authorization })
    ingestion.bodies.push(text)
    const envelopes = JSON.parse(text) as Envelope[]
    if (ingestion.status === 200) ingestion.envelopes.push(...envelopes)
    const accepted = ingestion.status === 200 ? envelopes.length : 0
    response.writeHead(ingestion.status, { 'content-type': 'application/json' })
    response.end(JSON.stringify({ itemsReceived: envelopes.length, itemsAccepted: accepted, errors: [] }))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const proxy = createProxy()
  proxy.on('connect', ({ url }, socket) => {
    // Nothing else is to be reached from here.
    if (url !== `${HOST}:443`) return void socket.end('HTTP/1.1 403 Forbidden\r\n\r\n')
    const tunnel = connect(port, '127.0.0.1', () => {
      socket.write('HTTP/1.1 200 OK\r\n\r\n')
      socket.pipe(tunnel).pipe(socket)
    })
    for (const end of [socket, tunnel]) end.on('error', () => {}).on('close', () => tunnel.destroy())
  })
  await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve))
  const ingestion: Ingestion = {
    connectionString: `InstrumentationKey=0a7f1c1e-8e2b-4b7e-9d55-3f0c5d1b2a60;IngestionEndpoint=https://${HOST}/`,
    proxy: `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`,
    certificateFile,
    envelopes: [],
    bodies: [],
    requests: [],
    status: 200,
    async close() {
      server.closeAllConnections()
      proxy.closeAllConnections()
      proxy.close()
      await new Promise((resolve) => server.close(resolve))
      rmSync(folder, { recursive: true, force: true })
    },
  }
  return ingestion
}
