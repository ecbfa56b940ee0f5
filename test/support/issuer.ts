import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { exportJWK, generateKeyPair, type JWK, type JWTPayload, SignJWT } from 'jose'

type KeyPair = Awaited<ReturnType<typeof generateKeyPair>>

/** A key that an issuer signs by, and the part of it that it shows. */
export interface SigningKey {
  readonly pair: KeyPair
  readonly algorithm: string
  readonly shown: JWK
}

/** A real HTTP server in the place of an issuer of tokens: it shows its keys, and misbehaves as a test says. */
export interface LocalIssuer {
  readonly origin: string
  /** Paths that were asked for, in their order. */
  readonly asked: string[]
  /** What it shows as its keys. */
  shown: unknown[]
  /** Answers in its place, where it returns true. */
  misbehave: (path: string, response: ServerResponse) => boolean
  /** Signs by a new key, and shows that beside the others. */
  rotate(algorithm?: string, change?: Partial<JWK>): Promise<SigningKey>
  /** A token, signed by the newest key: for five minutes, of `sub` `alice`, with what the test wants different. */
  token(claims?: JWTPayload, header?: Record<string, unknown>, key?: SigningKey): Promise<string>
  close(): Promise<void>
}

let names = 0

export async function newSigningKey(algorithm = 'RS256', change: Partial<JWK> = {}): Promise<SigningKey> {
  const pair = await generateKeyPair(algorithm, { extractable: true })
  names += 1
  const shown = { ...(await exportJWK(pair.publicKey)), kid: `key-${names}`, use: 'sig', ...change }
  return { pair, algorithm, shown }
}

/** @param now seconds since 1970 */
export async function startIssuer({
  now = () => Date.now() / 1_000,
  audience = 'tollgate',
} = {}): Promise<LocalIssuer> {
  const server = createServer((request, response) => {
    const path = request.url ?? ''
    issuer.asked.push(path)
    if (issuer.misbehave(path, response)) return
    const json = (value: unknown) =>
      response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(value))
    if (path === '/.well-known/openid-configuration')
      return json({ issuer: issuer.origin, jwks_uri: `${issuer.origin}/keys` })
    if (path === '/keys' || path.endsWith('/discovery/v2.0/keys')) return json({ keys: issuer.shown })
    return response.writeHead(404).end()
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  let current = await newSigningKey()
  const issuer: LocalIssuer = {
    origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    asked: [],
    shown: [current.shown],
    misbehave: () => false,
    async rotate(algorithm, change) {
      current = await newSigningKey(algorithm, change)
      issuer.shown = [...issuer.shown, current.shown]
      return current
    },
    token(claims = {}, header = {}, key = current) {
      const at = Math.floor(now())
      const all = { iss: issuer.origin, aud: audience, sub: 'alice', iat: at, nbf: at, exp: at + 300, ...claims }
      const present = Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined))
      const protectedHeader = { alg: key.algorithm, kid: key.shown.kid, typ: 'JWT', ...header }
      const named = Object.fromEntries(Object.entries(protectedHeader).filter(([, value]) => value !== undefined))
      return new SignJWT(present).setProtectedHeader(named as { alg: string }).sign(key.pair.privateKey)
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
  return issuer
}
