import { mkdirSync, mkdtempSync, readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { OperatorError } from '@tollgate/middleware'
import { expect, test } from 'vitest'
import { faultText } from './fault-text.ts'

function faultOf(work: () => unknown): unknown {
  try {
    return work()
  } catch (error) {
    return error
  }
}

test('I6: a folder in a file’s place is told in a sentence, without a stack', () => {
  const folder = mkdtempSync(join(tmpdir(), 'tollgate-fault-'))
  mkdirSync(join(folder, 'demo-key'))
  expect(faultText(faultOf(() => readFileSync(join(folder, 'demo-key'))))).toBe(
    'EISDIR: illegal operation on a directory, read. A folder stands in the place of a file. Remove it.',
  )
  expect(faultText(faultOf(() => readFileSync(join(folder, 'host.json'))))).toMatch(
    /^ENOENT: no such file or directory, open '.*host\.json'\. It is missing\. Restore it\.$/,
  )
})

test('I6: a storage that is down, or refuses, is told in a sentence', () => {
  const down = Object.assign(new Error('connect ECONNREFUSED 127.0.0.1:1'), { code: 'REQUEST_SEND_ERROR' })
  expect(faultText(down)).toMatch(/^The storage could not be reached: connect ECONNREFUSED 127\.0\.0\.1:1\. See that/)
  const refused = Object.assign(new Error('no'), { statusCode: 403, code: 'AuthorizationFailure' })
  expect(faultText(refused)).toBe('The storage could not be used (HTTP 403): no')
})

test.each(['AggregateAuthenticationError', 'AuthenticationError', 'CredentialUnavailableError'])(
  'one who is not signed in is told to, and not all that was tried: %s',
  (name) => {
    const fault = Object.assign(new Error('ChainedTokenCredential authentication failed.\nTried this, that'), { name })
    expect(faultText(Object.assign(fault, { statusCode: 400 }))).toBe(
      'The storage asks who you are, and no credential was found. Sign in with `az login`, as somebody with the role Storage ' +
        'Table Data Contributor on it.',
    )
  },
)

test('what an operator can mend is told as it is, and a fault of ours with its stack', () => {
  expect(faultText(new OperatorError('Set X.'))).toBe('Set X.')
  expect(faultText(new TypeError('x is not a function'))).toMatch(/^TypeError: x is not a function\n {4}at /)
})
