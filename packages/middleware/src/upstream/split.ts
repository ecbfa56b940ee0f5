import { hash } from 'node:crypto'
import type { SplitModel } from '../policy/index.ts'

export type Part = SplitModel['parts'][number]

/** Bytes of a hash that make a number between 0 and 1: as many as a double holds exactly. */
const BYTES = 6
const RANGE = 2 ** (8 * BYTES)

/**
 * The parts of a split in the order in which a key goes to them: to the first, and where that may not serve, to the next. By weighted
 * rendezvous hashing: each part draws a number from the hash of the split, its own name and the key, which makes a waiting time with
 * the part's weight as its rate, and the shortest stands first. So
 *
 * - every instance decides alike, without a word to another;
 * - a part is first with a probability of its weight over the sum of weights; where one may not serve, the others share its keys by
 *   their weights;
 * - a part that is new, or gains weight, takes keys from others, and none moves between those; one that loses weight gives keys away,
 *   and none comes to it (ranges of one number, laid end to end, would move keys between parts that nobody touched);
 * - splits are independent of each other, since their names are in the hash.
 *
 * A part without weight is left out.
 */
export function partsInOrder({ name, parts }: Pick<SplitModel, 'name' | 'parts'>, key: string): readonly Part[] {
  return parts
    .filter(({ weight }) => weight > 0)
    .map((part) => ({ part, wait: -Math.log(drawn(name, part.model, key)) / part.weight }))
    .sort((a, b) => a.wait - b.wait)
    .map(({ part }) => part)
}

/** Between 0 and 1, neither of which it ever is. */
function drawn(split: string, part: string, key: string): number {
  const digest = hash('sha256', JSON.stringify([split, part, key]), 'buffer')
  return (digest.readUIntBE(0, BYTES) + 0.5) / RANGE
}
