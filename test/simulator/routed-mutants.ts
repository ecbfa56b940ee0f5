import type { Mutant } from './mutants.ts'

/** Defects by which a request would leave its zone, or be charged for twice. Files are named from `limits/`. */
export const ROUTED_MUTANTS: readonly Mutant[] = [
  {
    name: 'asks whatever target there is, whatever the zones of the plan',
    file: '../upstream/candidates.ts',
    find: 'rankedTargets(targetsFor(model.targets, rights))',
    replace: 'rankedTargets(model.targets)',
    seed: 1,
  },
  {
    name: 'takes a target without a zone to be in all of them',
    file: '../policy/target.ts',
    find: 'zone !== undefined && zones.includes(zone)',
    replace: 'zone === undefined || zones.includes(zone)',
    seed: 1,
  },
  {
    name: 'forgets the zones where a model is asked in the place of another',
    file: '../upstream/route.ts',
    find: 'const picked = pickModel(name, asking)\n      if (picked === undefined',
    replace:
      'const picked = pickModel(name, { ...asking, rights: { ...asking.rights, zones: undefined } })\n      if (picked === undefined',
    seed: 1,
  },
  {
    name: 'forgets the plan’s models where a model is asked in the place of another',
    file: '../upstream/route.ts',
    find: 'const picked = pickModel(name, asking)\n      if (picked === undefined',
    replace:
      'const picked = pickModel(name, { ...asking, rights: { ...asking.rights, models: undefined } })\n      if (picked === undefined',
    seed: 1,
  },
  {
    name: 'forgets the plan’s tiers where a model has some of its own',
    file: '../upstream/candidates.ts',
    find: '.filter(allows)',
    replace: '.filter(() => allows !== undefined)',
    seed: 1,
  },
  {
    name: 'shares what is stored over zones',
    file: '../cache/cache-key.ts',
    find: 'targets: candidates.map(placeOf)',
    replace: 'targets: candidates.map(placeOf).slice(0, 0)',
    seed: 1,
  },
  {
    name: 'asks again after the first byte',
    file: '../upstream/retry.ts',
    find: 'last === undefined || last.begun ||',
    replace: 'last === undefined ||',
    seed: 1,
  },
  {
    name: 'makes one call more than the model allows',
    file: '../upstream/retry.ts',
    find: 'attempts.length >= rule.attempts',
    replace: 'attempts.length > rule.attempts',
    seed: 1,
  },
  {
    name: 'asks a target again before the time that it has said',
    file: '../upstream/balancers/weighted.ts',
    find: 'if (waitMs > 0) continue',
    replace: 'if (waitMs > 1e12) continue',
    seed: 1,
  },
  {
    name: 'charges each attempt twice',
    file: 'settlement.ts',
    find: 'return sum(charges, ({ usages }) => Math.max(...usages.map(({ usage, price }) => unitsOf(limit, usage, price))))',
    replace:
      'return 2 * sum(charges, ({ usages }) => Math.max(...usages.map(({ usage, price }) => unitsOf(limit, usage, price))))',
    seed: 1,
  },
  {
    name: 'charges the last attempt alone',
    file: 'budget.ts',
    find: 'const charges = attempts.map((attempt) => chargeOf(attempt, reserved, log))',
    replace: 'const charges = attempts.slice(-1).map((attempt) => chargeOf(attempt, reserved, log))',
    seed: 1,
  },
  {
    name: 'charges an attempt that took nothing',
    file: '../upstream/failure.ts',
    find: 'return failure.unspent ? NOTHING_SPENT : SPEND_UNKNOWN',
    replace: 'return failure.unspent ? SPEND_UNKNOWN : SPEND_UNKNOWN',
    seed: 1,
  },
  {
    name: 'keeps what was reserved for a second attempt',
    file: 'budget.ts',
    find: 'for (const [index, { settle }] of decisions.entries())',
    replace: 'for (const [index, { settle }] of decisions.slice(0, 1).entries())',
    seed: 1,
  },
]
