import * as z from 'zod'
import {
  type Head,
  type KeptRevision,
  PolicyError,
  type PolicyRevisions,
  type PolicyText,
  policyChanges,
  policyRevisions,
  type Revision,
  RevisionLost,
  revisionText,
} from '../policy/index.ts'
import { fromQuery, type Managed, manageAction } from './action.ts'
import { ManageFault } from './fault.ts'

/* The policy in force: what it says, what was in force before, and another one in its place. */

const number = z.int().min(1)

const revision = z.strictObject({
  number,
  digest: z.string().describe('SHA-256 of its text.'),
  at: z.iso.datetime().describe("When it was applied, by the storage's clock."),
  by: z.string().describe('Who applied it.'),
  from: z.enum(['file', 'cli', 'api', 'rollback']),
  source: z.string().describe('What it was read from.'),
  message: z.string().nullable(),
  shadow: z.boolean().describe('It was applied to be judged alone, and refused nothing.'),
})

const text = z
  .string()
  .min(1)
  .max(1024 * 1024)
  .describe('The document: YAML or JSON, of 1 MiB at most.')
const source = z.string().min(1).max(200).describe("What it was read from, for messages: a file's name.")
const message = z.string().min(1).max(1_000).describe('Why, for the history.')
const expected = z
  .int()
  .min(0)
  .describe('The revision that was in force as it was decided, 0 for none: where another is, nothing is changed.')

export const showPolicy = manageAction({
  id: 'showPolicy',
  summary: 'The policy in force, or another revision: its text, and who applied it.',
  method: 'GET',
  path: '/policy',
  refuses: [404],
  input: z.strictObject({ revision: fromQuery(number).optional() }),
  output: z.strictObject({
    revision: revision.nullable().describe('None where none was applied yet: the file, or the defaults, hold.'),
    text: z.string().nullable(),
    inForce: z.boolean(),
    shadow: revision.nullable().describe('The revision that is judged beside the one in force.'),
    refused: z.string().nullable().describe('Why an instance can’t use it, and goes by the one before.'),
  }),
  async run({ revision: asked }, managed) {
    const revisions = revisionsOf(managed)
    const head = await revisions.look(managed.signal)
    const kept = asked === undefined ? head.current : await keptOf(asked, head, revisions, managed.signal)
    const inHead = [head.current, head.shadow].find((each) => each === kept)
    return {
      revision: kept === undefined ? null : shown(kept.revision),
      text: kept === undefined ? null : await revisions.textOf(kept, managed.signal),
      inForce: kept?.revision.number === head.current?.revision.number,
      shadow: head.shadow === undefined ? null : shown(head.shadow.revision),
      refused: (inHead && (await revisions.refusalOf(inHead, managed.signal))) ?? null,
    }
  },
})

export const listPolicyRevisions = manageAction({
  id: 'listPolicyRevisions',
  summary: 'All revisions of the policy that were applied, the newest first.',
  method: 'GET',
  path: '/policy/revisions',
  refuses: [],
  input: z.strictObject({}),
  output: z.strictObject({
    revisions: z.array(revision),
    inForce: number.nullable(),
    judged: number.nullable().describe('The revision that is judged beside it.'),
  }),
  async run(_input, managed) {
    const revisions = revisionsOf(managed)
    const { current, shadow } = await revisions.look(managed.signal)
    return {
      revisions: (await revisions.history(managed.signal)).map(shown),
      inForce: current?.revision.number ?? null,
      judged: shadow?.revision.number ?? null,
    }
  },
})

export const validatePolicy = manageAction({
  id: 'validatePolicy',
  summary: 'Whether a policy can be used: each fault with its line, its path and the fix.',
  method: 'POST',
  changesNothing: true,
  path: '/policy/validate',
  refuses: [],
  input: z.strictObject({ text, source: source.optional() }),
  output: z.strictObject({ valid: z.boolean(), faults: z.array(z.string()) }),
  async run(input, { check }) {
    try {
      check(input.text, input.source ?? PROPOSED)
      return { valid: true, faults: [] }
    } catch (fault) {
      if (!(fault instanceof PolicyError)) throw fault
      return { valid: false, faults: [...fault.faults] }
    }
  },
})

export const diffPolicy = manageAction({
  id: 'diffPolicy',
  summary:
    'What a policy would change of the one in force, or of another revision, and what becomes of what was counted.',
  method: 'POST',
  changesNothing: true,
  path: '/policy/diff',
  refuses: [404, 422],
  input: z.strictObject({ text, source: source.optional(), revision: number.optional() }),
  output: z.strictObject({
    against: revision.nullable().describe('None where none was applied yet: it is held against the defaults.'),
    changes: z.array(
      z.strictObject({
        path: z.string(),
        before: z.string().nullable(),
        after: z.string().nullable(),
        line: z.int().nullable(),
        effect: z.string().nullable(),
      }),
    ),
  }),
  async run(input, managed) {
    const revisions = revisionsOf(managed)
    const head = await revisions.look(managed.signal)
    const kept =
      input.revision === undefined ? head.current : await keptOf(input.revision, head, revisions, managed.signal)
    const proposed = usable(input, managed)
    const before = kept && {
      text: await revisions.textOf(kept, managed.signal),
      source: revisionText(kept.revision),
    }
    return {
      against: kept === undefined ? null : shown(kept.revision),
      changes: policyChanges(before, proposed).map(({ path, before, after, line, effect }) => ({
        path,
        before: before ?? null,
        after: after ?? null,
        line: line ?? null,
        effect: effect ?? null,
      })),
    }
  },
})

const applied = z.strictObject({
  revision,
  changed: z.boolean().describe('False where it was in force already, to the byte.'),
})

export const applyPolicy = manageAction({
  id: 'applyPolicy',
  summary:
    'Puts a policy in force, on every instance within 5 seconds; as a shadow, beside the one in force, it is judged alone.',
  method: 'PUT',
  path: '/policy',
  refuses: [409, 422],
  input: z.strictObject({
    text,
    source: source.optional(),
    message: message.optional(),
    shadow: z.boolean().optional(),
    expected: expected.optional(),
  }),
  output: applied,
  async run(input, managed) {
    const { from } = managed
    const proposed = usable(input, managed)
    return apply({ ...proposed, from, shadow: input.shadow, message: input.message, expected: input.expected }, managed)
  },
})

export const rollbackPolicy = manageAction({
  id: 'rollbackPolicy',
  summary:
    'Puts an earlier revision in force again, as a new one: the one before the one in force, where none is named.',
  method: 'POST',
  path: '/policy/rollback',
  refuses: [404, 409, 422],
  input: z.strictObject({ revision: number.optional(), message: message.optional(), expected: expected.optional() }),
  output: applied,
  async run(input, managed) {
    const revisions = revisionsOf(managed)
    const head = await revisions.look(managed.signal)
    const back =
      input.revision === undefined
        ? await earlierOf(head, revisions, managed.signal)
        : (await keptOf(input.revision, head, revisions, managed.signal)).revision
    const text = await revisions.textOf({ revision: back }, managed.signal)
    const proposed = usable({ text, source: revisionText(back) }, managed, 'revision')
    const told = { from: 'rollback', message: input.message, expected: input.expected } as const
    return apply({ ...proposed, ...told }, managed, head)
  },
})

export const endPolicyShadow = manageAction({
  id: 'endPolicyShadow',
  summary: 'Judges no second revision any more.',
  method: 'DELETE',
  path: '/policy/shadow',
  refuses: [404, 409],
  input: z.strictObject({}),
  output: z.strictObject({ ended: revision }),
  async run(_input, managed) {
    const revisions = revisionsOf(managed)
    const head = await revisions.look(managed.signal)
    if (head.shadow === undefined) {
      throw new ManageFault('No revision is judged beside the one in force.', { code: 'not_found', status: 404 })
    }
    await unlessLost(revisions.endShadow(head, managed.signal))
    return { ended: shown(head.shadow.revision) }
  },
})

const PROPOSED = 'the policy'

interface Application extends PolicyText {
  readonly from: Revision['from']
  readonly message: string | undefined
  readonly shadow?: boolean | undefined
  readonly expected: number | undefined
}

async function apply({ expected, shadow, ...proposed }: Application, managed: Managed, read?: Head) {
  const revisions = revisionsOf(managed)
  const head = read ?? (await revisions.look(managed.signal))
  const standing = head.current?.revision.number ?? 0
  if (expected !== undefined && standing !== expected) throw lost(head.current?.revision)
  const proposal = { ...proposed, by: managed.actor, ...(shadow ? { shadow } : {}) }
  const revision = await unlessLost(revisions.apply(proposal, head, managed.signal))
  return { revision: shown(revision), changed: revision.number > head.last }
}

async function unlessLost<T>(work: Promise<T>): Promise<T> {
  try {
    return await work
  } catch (error) {
    throw error instanceof RevisionLost ? lost(newestOf(error.head)) : error
  }
}

function newestOf({ current, shadow, last }: Head): Revision | undefined {
  return [current, shadow].find((kept) => kept?.revision.number === last)?.revision
}

/** @param newest what came first; `undefined` where that only ended a shadow, or nothing is in force */
function lost(newest: Revision | undefined): ManageFault {
  const who =
    newest === undefined ? 'The policy was changed meanwhile' : `${newest.by} applied ${revisionText(newest)} meanwhile`
  const message = `${who}, so nothing was changed. Look at what is in force now, and apply yours again.`
  return new ManageFault(message, { code: 'conflict', status: 409 })
}

/** @throws ManageFault that lists what to correct */
function usable(
  { text, source = PROPOSED }: { readonly text: string; readonly source?: string | undefined },
  { check }: Managed,
  field = 'text',
): PolicyText {
  try {
    check(text, source)
  } catch (fault) {
    if (!(fault instanceof PolicyError)) throw fault
    throw new ManageFault(fault.message, { code: 'invalid_request', status: 422, field })
  }
  return { text, source }
}

function revisionsOf({ policies, policyName, wallClock }: Managed): PolicyRevisions {
  return policyRevisions({ table: policies, name: policyName, wallClock })
}

/** @throws ManageFault where there is none of this number */
async function keptOf(
  asked: number,
  { current, shadow }: Head,
  revisions: PolicyRevisions,
  signal: AbortSignal,
): Promise<KeptRevision | { readonly revision: Revision }> {
  const inHead = [current, shadow].find((kept) => kept?.revision.number === asked)
  if (inHead !== undefined) return inHead
  const history = await revisions.history(signal)
  const found = history.find((each) => each.number === asked)
  if (found !== undefined) return { revision: found }
  const numbers = history.length === 0 ? 'none yet' : `1 to ${history[0]?.number}`
  throw new ManageFault(`'revision': there is no revision ${asked}. There are: ${numbers}.`, {
    code: 'not_found',
    status: 404,
    field: 'revision',
  })
}

/** What was in force before the one that is, and says something else. @throws ManageFault where there is none */
async function earlierOf({ current }: Head, revisions: PolicyRevisions, signal: AbortSignal): Promise<Revision> {
  const found = (await revisions.history(signal)).find(
    (each) =>
      !each.shadow &&
      current !== undefined &&
      each.number < current.revision.number &&
      each.digest !== current.revision.digest,
  )
  if (found !== undefined) return found
  const fix = current === undefined ? '' : ' To go back to the defaults, apply {}.'
  throw new ManageFault(`There is no earlier revision to go back to.${fix}`, { code: 'not_found', status: 404 })
}

function shown({ at, message, shadow, ...told }: Revision): z.output<typeof revision> {
  return { ...told, at: new Date(at).toISOString(), message: message ?? null, shadow: shadow === true }
}
