import { fnv1a } from '../../pipeline/index.ts'

/*
 * Weighted rendezvous hashing: each target scores by a hash of itself and the conversation, and the lowest wins, after its weight
 * has divided it. A target that is left out moves its own conversations and no other, and all instances agree.
 */

/** Of objects that a policy's revisions share. */
const hashes = new WeakMap<object, number>()

/**
 * To be divided by the target's weight: exponentially distributed, so that each wins by the share of its weight.
 *
 * @param sticky the conversation's hash, by `fnv1a`
 */
export function rendezvous(sticky: number, target: { readonly id: string }): number {
  let own = hashes.get(target)
  if (own === undefined) {
    own = mixed(fnv1a(target.id))
    hashes.set(target, own)
  }
  return -Math.log((mixed(sticky ^ own) + 0.5) / 2 ** 32)
}

/** The end of MurmurHash3: each bit of the hash moves half of the bits. From 0 to 2³² − 1. */
function mixed(hash: number): number {
  let bits = hash ^ (hash >>> 16)
  bits = Math.imul(bits, 0x85ebca6b)
  bits ^= bits >>> 13
  bits = Math.imul(bits, 0xc2b2ae35)
  return (bits ^ (bits >>> 16)) >>> 0
}
