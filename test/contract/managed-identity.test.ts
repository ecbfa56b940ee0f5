import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { resolvePolicy } from '@tollgate/middleware'
import { afterEach, expect, test } from 'vitest'
import { parse } from 'yaml'
import { azureOpenai, openai } from '../../examples/managed-identity/caller.ts'
import { readTemplate } from '../infra/template.ts'
import { ROOT } from '../support/host.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'

/* examples/managed-identity: its clients send a token as the gateway takes one, its policy is one, and its template can be read. */

const at = (file: string) => readFileSync(join(ROOT, 'examples/managed-identity', file), 'utf8')

let server: Upstream | undefined
afterEach(() => server?.close())

test.each([
  ['OpenAI’s', openai, '/api/v1/chat/completions'],
  ['Azure OpenAI’s', azureOpenai, '/api/openai/deployments/default/chat/completions?api-version=2024-10-21'],
] as const)(
  '%s client asks for a token before each request, and sends it where the gateway takes it',
  async (_whose, make, path) => {
    server = await startUpstream()
    let asked = 0
    const client = make(server.origin, async () => {
      asked += 1
      return `token-${asked}`
    })
    for (const _ of [1, 2]) {
      await client.chat.completions.create({ model: 'default', messages: [{ role: 'user', content: 'Hi' }] })
    }
    expect(server.calls.map((call) => [call.path, call.headers.authorization, call.headers['api-key']])).toEqual([
      [path, 'Bearer token-1', undefined],
      [path, 'Bearer token-2', undefined],
    ])
  },
)

test('the policy is one', () => {
  const bounds = { env: {}, readable: [], hosts: [] }
  const policy = resolvePolicy(parse(at('tollgate.policy.yaml')), {
    source: 'example',
    bounds,
    defaultTarget: undefined,
  })
  expect(policy.identity?.issuers[0]?.roles).toEqual([{ role: 'Tollgate.Pro', plan: 'pro' }])
})

// The grammar doesn't know the line that names the extension.
const withoutExtension = at('main.bicep').replace(/^extension \w+$/m, '')

test('the template gives the role of the policy to the caller’s identity', () => {
  const { faults, declarations } = readTemplate('examples/managed-identity/main.bicep', withoutExtension)
  expect(faults).toEqual([])
  const targets = declarations.filter(({ kind }) => kind === 'resource').map(({ target }) => target)
  expect(targets).toEqual([
    'Microsoft.Graph/applications@v1.0',
    'Microsoft.Graph/servicePrincipals@v1.0',
    'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30',
    'Microsoft.Graph/appRoleAssignedTo@v1.0',
  ])
})
