import { randomUUID } from 'node:crypto'
import { createServer } from 'node:http'
import { exportJWK, generateKeyPair, SignJWT } from 'jose'

/*
 * An OpenID Connect issuer on this machine, to try callers by tokens: it shows its keys, and gives anyone any token.
 *
 *   npx --no-install node examples/local-issuer/issuer.ts          # PORT=7081
 *   curl '127.0.0.1:7081/token?sub=alice&roles=Pro&costCentre=4711'
 */

const HOST = '127.0.0.1'
const LIFE_SECONDS = 3_600

export async function startIssuer(port: number): Promise<{ readonly url: string; close(): Promise<void> }> {
  const { publicKey, privateKey } = await generateKeyPair('RS256')
  // Another name at each start, so that the gateway reads the new key.
  const key = { ...(await exportJWK(publicKey)), kid: randomUUID(), alg: 'RS256', use: 'sig' }
  let url = ''
  const token = ({ aud = 'tollgate', ...claims }: Record<string, string>) =>
    new SignJWT(claims)
      .setProtectedHeader({ alg: 'RS256', kid: key.kid, typ: 'JWT' })
      .setIssuer(url)
      .setAudience(aud)
      .setIssuedAt()
      .setExpirationTime(`${LIFE_SECONDS} s`)
      .sign(privateKey)
  const server = createServer(async (request, response) => {
    const { pathname, searchParams } = new URL(request.url ?? '', url)
    const json = (value: unknown) =>
      response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(value))
    if (pathname === '/.well-known/openid-configuration') return json({ issuer: url, jwks_uri: `${url}/keys` })
    if (pathname === '/keys') return json({ keys: [key] })
    if (pathname === '/token') return response.end(await token(Object.fromEntries(searchParams)))
    return response.writeHead(404).end()
  })
  await new Promise<void>((resolve, reject) => server.once('error', reject).listen(port, HOST, resolve))
  const address = server.address()
  url = `http://${HOST}:${typeof address === 'object' ? address?.port : port}`
  return {
    url,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

if (import.meta.main) {
  const { url } = await startIssuer(Number(process.env.PORT || 7081))
  console.log(`An issuer for trying, never for others, on ${url}. A token: curl '${url}/token?sub=alice&roles=Pro'`)
}
