import * as z from 'zod'
import { fromEnv } from './from-env.ts'
import { headerSecret, headerSecretIfSet } from './secret-headers.ts'
import type { RequestTemplate, TargetContext } from './target-kind.ts'

/* Requests that are signed for AWS (Signature Version 4), as a Lambda function URL with IAM's authorization takes them. */

const word = z.string().regex(/^[a-z0-9-]{1,64}$/, 'must be of lower-case letters, digits and hyphens')

export const sigv4 = z
  .strictObject({
    service: word.optional().describe('lambda where it is left out; execute-api for an API Gateway.'),
    region: word.describe('Such as eu-west-1.'),
    accessKey: fromEnv.optional().describe('AWS_ACCESS_KEY_ID where it is left out.'),
    secretKey: fromEnv.optional().describe('AWS_SECRET_ACCESS_KEY where it is left out.'),
    sessionToken: fromEnv.optional().describe('AWS_SESSION_TOKEN, if it is set, where it is left out.'),
  })
  .describe('Signs each request for AWS.')

export interface SigV4Settings {
  readonly service: string
  readonly region: string
  readonly accessKeyId: string
  readonly secretAccessKey: string
  /** Of temporary credentials. */
  readonly sessionToken: string | undefined
}

/** Headers that a signature writes. */
export const SIGNED_BY: readonly string[] = ['authorization', 'x-amz-*']

/** The credentials are read with the policy, as all its secrets are: a process has one environment. @throws TargetFault */
export function sigv4Of(
  { service = 'lambda', region, accessKey, secretKey, sessionToken }: z.infer<typeof sigv4>,
  context: TargetContext,
): SigV4Settings {
  return {
    service,
    region,
    accessKeyId: headerSecret(accessKey ?? { env: 'AWS_ACCESS_KEY_ID' }, 'sign.accessKey', context),
    // In no header, and of the same characters: one with a line break at its end would sign nothing that AWS lets in.
    secretAccessKey: headerSecret(secretKey ?? { env: 'AWS_SECRET_ACCESS_KEY' }, 'sign.secretKey', context),
    sessionToken:
      sessionToken === undefined
        ? headerSecretIfSet({ env: 'AWS_SESSION_TOKEN' }, 'sign.sessionToken', context)
        : headerSecret(sessionToken, 'sign.sessionToken', context),
  }
}

/** A signing key holds for a day. */
const MOST_KEYS = 2

/**
 * Signs each request over its URL, its body's bytes and these headers.
 *
 * @param headers of the template: names in lower case and values, by turns
 */
export async function signer(
  settings: SigV4Settings,
  url: URL,
  method: 'GET' | 'POST',
  headers: readonly string[],
): Promise<NonNullable<RequestTemplate['authorize']>> {
  const { AwsV4Signer } = await import('aws4fetch')
  const own = new Map<string, string>()
  for (let at = 0; at + 1 < headers.length; at += 2) own.set(headers[at] as string, headers[at + 1] as string)
  const cache = new Map<string, ArrayBuffer>()
  return async (body) => {
    if (cache.size > MOST_KEYS) cache.clear()
    const { service, region, accessKeyId, secretAccessKey, sessionToken } = settings
    const signed = await new AwsV4Signer({
      url: url.href,
      method,
      headers: [...own],
      body: (body ?? null) as Uint8Array<ArrayBuffer> | null,
      service,
      region,
      accessKeyId,
      secretAccessKey,
      ...(sessionToken === undefined ? {} : { sessionToken }),
      cache,
    }).sign()
    return [...signed.headers].filter(([name]) => !own.has(name)).flat()
  }
}
