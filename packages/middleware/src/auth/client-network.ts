import { isIPv6 } from 'node:net'

/**
 * What one client can easily change its address within: an IPv6 address's first 64 bits, which a single subscriber has;
 * any other address whole. An IPv4 address is the same however it is mapped into IPv6.
 */
export function clientNetwork(address: string): string {
  if (!isIPv6(address)) return address
  const groups = groupsOf(address)
  if (groups.slice(0, 5).every((group) => group === 0) && groups[5] === 0xffff) return ipv4Of(groups.slice(6))
  return `${groups
    .slice(0, 4)
    .map((group) => group.toString(16))
    .join(':')}::/64`
}

/** The eight groups of an IPv6 address, in whichever of its forms it is written. */
function groupsOf(address: string): number[] {
  const [bare = ''] = address.split('%')
  const canonical = URL.parse(`http://[${bare}]`)?.hostname.slice(1, -1) ?? bare
  const [head = '', tail = ''] = canonical.split('::')
  const [before, after] = [head, tail].map((part) => (part === '' ? [] : part.split(':'))) as [string[], string[]]
  const zeros = Array.from({ length: Math.max(0, 8 - before.length - after.length) }, () => '0')
  return [...before, ...zeros, ...after].map((group) => Number.parseInt(group, 16))
}

function ipv4Of(groups: readonly number[]): string {
  return groups.flatMap((group) => [group >> 8, group & 0xff]).join('.')
}
