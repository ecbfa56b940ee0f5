import type { LookupFunction } from 'node:net'
import { expect, test } from 'vitest'
import type { TargetKind } from '../targets/index.ts'
import { TARGET_KINDS } from '../targets/index.ts'
import { AddressNotAllowed, connectionCheck, resolvePolicy } from './index.ts'

type Found = { readonly address: string; readonly family: number }

/** A name server that answers one list after the other, and counts how often it is asked. */
function names(...answers: readonly (readonly string[])[]) {
  const asked: object[] = []
  const lookup = ((hostname: string, options: object, callback: (error: null, found: readonly Found[]) => void) => {
    const addresses = answers[Math.min(asked.length, answers.length - 1)] ?? []
    asked.push({ hostname, ...options })
    callback(
      null,
      addresses.map((address) => ({ address, family: address.includes(':') ? 6 : 4 })),
    )
  }) as unknown as LookupFunction
  return { lookup, asked }
}

function lookedUp(lookup: LookupFunction, hostname: string, all = true): Promise<unknown> {
  return new Promise((resolve, reject) => {
    lookup(hostname, { all }, (error, address, family) =>
      error ? reject(error) : resolve(all ? address : [address, family]),
    )
  })
}

const addressesOf = async (check: ReturnType<typeof connectionCheck>, host: string) =>
  ((await lookedUp(check.lookup, host)) as readonly Found[]).map(({ address }) => address)

const NOT_PUBLIC = [
  ...['0.0.0.0', '0.1.2.3', '10.0.0.5', '100.64.0.1', '100.127.255.255', '127.0.0.1', '127.9.9.9', '168.63.129.16'],
  ...['169.254.169.254', '172.16.0.1', '172.31.255.255', '192.0.0.1', '192.0.2.1', '192.168.1.1', '198.18.0.1'],
  ...['198.51.100.7', '203.0.113.7', '224.0.0.1', '239.255.255.255', '240.0.0.1', '255.255.255.255'],
  ...['::', '::1', '::127.0.0.1', '::ffff:127.0.0.1', '::ffff:a9fe:a9fe', '::ffff:0:10.0.0.5', '64:ff9b::10.0.0.5'],
  ...['64:ff9b:1::1', '100::1', '2001::1', '2001:db8::1', '2002:7f00:1::1', '3fff::1', 'fc00::1', 'fd12:3456::1'],
  ...['fe80::1', 'fe80::1%lo', 'fec0::1', 'ff02::1', '4000::1', 'no address'],
]
const PUBLIC = [
  ...[
    '1.1.1.1',
    '20.50.2.1',
    '100.63.255.255',
    '100.128.0.1',
    '172.15.0.1',
    '172.32.0.1',
    '168.63.129.17',
    '192.0.1.1',
  ],
  ...['2606:4700::1111', '2a01:111::1', '::ffff:1.1.1.1', '64:ff9b::1.1.1.1'],
]

test.each(NOT_PUBLIC)('a name that stands for %s is refused, unless its host is listed', async (address) => {
  const { lookup } = names([address])
  const check = (...hosts: string[]) => connectionCheck({ hosts: () => hosts, lookup })
  await expect(addressesOf(check('other.example', '*.llm.example'), 'llm.example')).rejects.toThrow(AddressNotAllowed)
  expect(await addressesOf(check('llm.example'), 'llm.example')).toEqual([address])
  expect(await addressesOf(check('*.EXAMPLE'), 'llm.example')).toEqual([address])
})

test.each(PUBLIC)('a name that stands for %s is given it', async (address) => {
  const check = connectionCheck({ hosts: () => [], lookup: names([address]).lookup })
  expect(await addressesOf(check, 'llm.example')).toEqual([address])
  expect(await lookedUp(check.lookup, 'llm.example', false)).toEqual([address, address.includes(':') ? 6 : 4])
})

test('of several addresses those alone are given that may be asked', async () => {
  const check = connectionCheck({ hosts: () => [], lookup: names(['10.0.0.5', '2606:4700::1111', '1.1.1.1']).lookup })
  expect(await addressesOf(check, 'llm.example')).toEqual(['2606:4700::1111', '1.1.1.1'])
  expect(await lookedUp(check.lookup, 'llm.example', false)).toEqual(['2606:4700::1111', 6])
})

test('each connection is checked by the one answer that it goes by', async () => {
  const { lookup, asked } = names(['1.1.1.1'], ['169.254.169.254'], ['1.1.1.1'])
  const check = connectionCheck({ hosts: () => [], lookup })
  expect(await addressesOf(check, 'rebound.example')).toEqual(['1.1.1.1'])
  expect(asked).toHaveLength(1)
  await expect(addressesOf(check, 'rebound.example')).rejects.toThrow(AddressNotAllowed)
  expect(asked).toHaveLength(2)
  expect(asked[0]).toMatchObject({ hostname: 'rebound.example', all: true })
})

test('a name that is not found is no matter of the check', async () => {
  const lookup = ((_host: string, _options: object, callback: (error: Error, found: string) => void) =>
    callback(new Error('ENOTFOUND'), '')) as unknown as LookupFunction
  await expect(addressesOf(connectionCheck({ hosts: () => [], lookup }), 'llm.example')).rejects.toThrow('ENOTFOUND')
})

test('the fault says the host and the fix, and no address', async () => {
  const check = connectionCheck({ hosts: () => [], lookup: names(['10.9.8.7']).lookup })
  const fault = await addressesOf(check, 'llm.example').catch((error) => error)
  expect(fault).toMatchObject({ code: 'address_not_allowed', operatorMessage: fault.message })
  expect(fault.message).toContain("'llm.example' is on a private address")
  expect(fault.message).toContain('TOLLGATE_TARGET_HOSTS')
  expect(fault.message).not.toContain('10.9.8.7')
})

test('a host that is an address itself is checked without a look-up', () => {
  const check = connectionCheck({ hosts: () => ['127.0.0.1', '[fd00::1]'] })
  for (const host of ['10.0.0.5', '[::1]', '[::ffff:a9fe:a9fe]', '169.254.169.254']) {
    expect(() => check.host(host)).toThrow(AddressNotAllowed)
  }
  for (const host of ['127.0.0.1', '[fd00::1]', '1.1.1.1', '[2606:4700::1111]', 'llm.example', '10.example'])
    check.host(host)
})

test('a policy’s URL of an address passes the same check when it is read', () => {
  // A kind whose own hosts are too many.
  const [openai] = TARGET_KINDS.filter(({ name }) => name === 'openai')
  const targetKinds = [{ ...openai, isKnownHost: () => true } as TargetKind]
  const resolve = (baseUrl: string, hosts: readonly string[] = []) =>
    resolvePolicy(
      { models: { m: { targets: [{ openai: { baseUrl, model: 'm' } }] } } },
      { source: 'p', bounds: { env: {}, readable: [], hosts }, defaultTarget: undefined, targetKinds },
    )
  for (const host of ['169.254.169.254', '[::ffff:10.0.0.5]', '0x7f.1', '2130706433', '[fe80::1]']) {
    expect(() => resolve(`https://${host}/v1`)).toThrow('is on a private address')
  }
  expect(resolve('https://10.0.0.5/v1', ['10.0.0.5']).trustedHosts).toEqual(['10.0.0.5'])
  resolve('https://1.1.1.1/v1')
})

test('the hosts that may be on private addresses make no other revision', () => {
  const revision = (hosts: readonly string[]) =>
    resolvePolicy({}, { source: 'p', bounds: { env: {}, readable: [], hosts }, defaultTarget: undefined }).revision
  expect(revision(['llm.example'])).toBe(revision([]))
})
