import {
  describeFault,
  isOutage,
  type Log,
  OperatorError,
  systemTime,
  type Time,
  withDeadline,
} from '../pipeline/index.ts'
import type { PolicyFile, PolicyText } from './file.ts'
import type { Policy } from './policy.ts'
import {
  digestOf,
  type Head,
  type KeptRevision,
  type PolicyRevisions,
  type Revision,
  RevisionLost,
  revisionText,
} from './revisions.ts'
import { type PolicySource, PolicyUnknown } from './source.ts'

/* The policy of one process as it changes: which revision is in force is asked on a request, where the last look is too old. */

/** How old a look may be that a request goes by, in milliseconds. */
const LOOK_MS = 5_000
/** How long a request waits for another look; the one before holds meanwhile. */
const WAIT_MS = 500
/** When such a look is given up: before the next one. */
const GIVE_UP_MS = 4_000
/** While nothing was ever read, requests are refused, and one in this time looks again. */
const AGAIN_MS = 1_000
/** Of a policy that this process can't use, as many revisions before it are tried at a start. */
const MOST_TRIED = 10
/** How often a start tries to apply its file while others apply theirs. */
const MOST_RACES = 10

/** A policy's file as a start finds it, or the defaults where there is none. */
export interface StartPolicy {
  /** `undefined` where there is none, or it can't be read. */
  readonly file: PolicyFile | undefined
  /** What it came to by the app's own settings, or why it can't be used. */
  readonly policy: Policy | OperatorError
}

/** What a process goes by, to be told to an operator. */
export interface InForce {
  readonly policy: Policy
  /** `undefined` for the defaults: there is neither a revision nor a file. */
  readonly revision: Revision | undefined
  /** The revision that is only judged. */
  readonly shadow: Revision | undefined
  /** Where the start's file is not what is in force: the revision as which it was applied before. */
  readonly fileBefore: Revision | undefined
}

export interface LivePolicyOptions {
  readonly revisions: PolicyRevisions
  readonly start: StartPolicy
  /** Resolves a text by the app's own settings. @throws OperatorError that lists what to correct */
  readonly resolve: (of: PolicyText) => Policy
  /** Whether a file that was saved after the revision in force was applied is applied, whatever it says: where a person edits it. */
  readonly appliesSaved?: boolean
  /** Reads the file again, at each look: what a person saves while the process runs is applied as well. */
  readonly reread?: () => StartPolicy
  /** How long a start's first look may take, in milliseconds. */
  readonly deadlineMs: number
  readonly time?: Time
  readonly log: Log
  /** Told once something is in force, and of each change. */
  readonly told?: (now: InForce) => void
}

/**
 * The policy that is in force in a table of revisions, and the one that is judged beside it. A look is one read, made for a request where
 * the last one began five seconds ago, so that each request is decided by a revision that was in force within the five seconds before
 * it; a new text that is too long for the head is read once more. No timer looks: an app that nobody asks costs nothing.
 *
 * The first request of a process waits for the first look, and is refused where that fails: by the file that the process was started with
 * nobody is let in that a later revision shuts out. After that, the last good policy holds while the table can't be read.
 *
 * A start applies its file once: where its text was never in force. A revision that can't be used here is refused whole.
 */
export function livePolicy(options: LivePolicyOptions): PolicySource {
  const { revisions, resolve, appliesSaved = false, reread, deadlineMs, time = systemTime, log, told } = options
  let { start } = options
  let now: InForce | undefined
  let shadow: Policy | undefined
  /** Why there is none: what a start's look came to. */
  let missing: Error = new PolicyUnknown()
  let refused: { readonly id: string; readonly fault: OperatorError } | undefined
  let seen: { current: string | undefined; shadow: string | undefined } | undefined
  /** The start's file was applied, or was before, or is not to be. */
  let isFileSettled = start.file === undefined && !(start.policy instanceof OperatorError)
  let fileBefore: Revision | undefined
  let fileFault: OperatorError | undefined
  let isOut = false

  /** The monotonic time before which requests go by what is in force; none while they wait for a look. */
  let until = Number.NEGATIVE_INFINITY
  let waiting: Promise<void> | undefined

  function begin(): Promise<void> {
    const begun = time.now()
    const isFirst = now === undefined
    until = Number.NEGATIVE_INFINITY
    let isLate = false
    const { promise: late, resolve: beLate } = Promise.withResolvers<void>()
    const stop = isFirst
      ? () => {}
      : time.after(WAIT_MS, () => {
          isLate = true
          isGone(new DOMException(`Not read within ${WAIT_MS} ms`, 'TimeoutError'))
          beLate()
        })
    const looked = withDeadline(isFirst ? deadlineMs : GIVE_UP_MS, look, time).then(
      () => {
        if (!isLate) isBack()
      },
      (fault) => {
        if (now === undefined) {
          missing = !(fault instanceof OperatorError) && isOutage(fault) ? new PolicyUnknown({ cause: fault }) : fault
        }
        isGone(fault)
      },
    )
    return Promise.race([looked, late]).then(() => {
      stop()
      until = begun + (now === undefined && missing instanceof PolicyUnknown ? AGAIN_MS : LOOK_MS)
      waiting = undefined
    })
  }

  function isGone(fault: unknown): void {
    if (isOut) return
    isOut = true
    const holds = now === undefined ? 'none: requests are refused until it can be read' : 'the last one that was read'
    log(now !== undefined && isOutage(fault) ? 'warn' : 'error', 'policy not read', { holds, ...describeFault(fault) })
  }

  function isBack(): void {
    if (isOut) log('info', 'policy read again')
    isOut = false
  }

  async function look(signal: AbortSignal): Promise<void> {
    let head = await revisions.look(signal)
    readAgain()
    if (!isFileSettled) head = await withFile(head, signal)
    signal.throwIfAborted()
    const id = head.current?.id
    const shadowId = head.shadow?.id
    if (seen !== undefined && seen.current === id && seen.shadow === shadowId) return
    const found = seen !== undefined && seen.current === id ? now : await policyOf(head, signal)
    const judged = await shadowOf(head, signal)
    signal.throwIfAborted()
    seen = { current: id, shadow: shadowId }
    const isChanged = found !== undefined && (found !== now || judged?.revision !== now?.shadow)
    shadow = judged?.policy
    if (!isChanged) return
    now = { ...found, shadow: judged?.revision }
    told?.(now)
  }

  /** Where a person saved the file since, it is as that of a start. */
  function readAgain(): void {
    const found = now === undefined ? undefined : reread?.()
    if (found === undefined || isSameFile(found, start)) return
    start = found
    fileFault = undefined
    isFileSettled = start.file === undefined && !(start.policy instanceof OperatorError)
  }

  /** What a head comes to here; what is in force already where it can't be used. @throws OperatorError where nothing can */
  async function policyOf(head: Head, signal: AbortSignal): Promise<InForce | undefined> {
    const { current } = head
    if (current === undefined) {
      // A table that was emptied is no reason to let everybody in by the defaults.
      if (now !== undefined) return now
      return { policy: usable(start.policy), revision: undefined, shadow: undefined, fileBefore: undefined }
    }
    try {
      const policy = await resolved(current, signal)
      refused = undefined
      if (now !== undefined) fileFault = undefined
      return { policy, revision: current.revision, shadow: undefined, fileBefore }
    } catch (fault) {
      if (!(fault instanceof OperatorError)) throw fault
      refuse(current, fault)
      if (now !== undefined) return now
      return beforeIt(current, fault, signal)
    }
  }

  /** Of a start that can't use what is in force: the last revision that it can, which the other instances still go by. */
  async function beforeIt({ revision }: KeptRevision, fault: OperatorError, signal: AbortSignal): Promise<InForce> {
    const earlier = (await revisions.history(signal)).filter((each) => !each.shadow && each.number < revision.number)
    for (const each of earlier.slice(0, MOST_TRIED)) {
      try {
        const policy = await resolved({ revision: each }, signal)
        return { policy, revision: each, shadow: undefined, fileBefore }
      } catch (error) {
        if (!(error instanceof OperatorError)) throw error
      }
    }
    throw fault
  }

  async function shadowOf({ shadow: kept }: Head, signal: AbortSignal) {
    if (kept === undefined) return undefined
    if (kept.id === seen?.shadow && shadow !== undefined) return { policy: shadow, revision: kept.revision }
    try {
      return { policy: await resolved(kept, signal), revision: kept.revision }
    } catch (fault) {
      if (!(fault instanceof OperatorError)) throw fault
      if (kept.id !== seen?.shadow) tellRefused(kept, fault)
      return undefined
    }
  }

  async function resolved(
    kept: Pick<KeptRevision, 'revision'> & Partial<KeptRevision>,
    signal: AbortSignal,
  ): Promise<Policy> {
    const { digest } = kept.revision
    if (digest === now?.revision?.digest) return now.policy
    if (start.file !== undefined && digest === digestOf(start.file.text)) return usable(start.policy)
    return resolve({ text: await revisions.textOf(kept, signal), source: revisionText(kept.revision) })
  }

  function refuse(kept: KeptRevision, fault: OperatorError): void {
    if (refused?.id !== kept.id) tellRefused(kept, fault)
    refused = { id: kept.id, fault }
  }

  function tellRefused(kept: KeptRevision, fault: OperatorError): void {
    log('error', 'policy refused', { number: kept.revision.number, ...describeFault(fault) })
    // For `tollgate policy show`: the log has it in any case.
    revisions.noteRefused(kept, fault.message, AbortSignal.timeout(GIVE_UP_MS)).catch(() => {})
  }

  /** Applies the start's file where that is to be; the head that then stands. */
  async function withFile(read: Head, signal: AbortSignal): Promise<Head> {
    const { file, policy } = start
    let head = read
    if (file === undefined) {
      isFileSettled = true
      if (policy instanceof OperatorError) refuseFile(policy, head)
      return head
    }
    for (let races = 0; ; races += 1) {
      const place = await placeOf(file, { head, revisions, appliesSaved, signal })
      signal.throwIfAborted()
      isFileSettled = true
      if (place === 'current') return head
      if (place !== 'new') {
        fileBefore = place
        return head
      }
      if (policy instanceof OperatorError) {
        refuseFile(policy, head, file.source)
        return head
      }
      isFileSettled = false
      try {
        const by = now === undefined ? 'an instance, as it started' : 'an instance, as its file was saved'
        await revisions.apply({ text: file.text, by, from: 'file', source: file.source }, head, signal)
        head = await revisions.look(signal)
      } catch (fault) {
        if (!(fault instanceof RevisionLost) || races >= MOST_RACES) throw fault
        head = fault.head
      }
    }
  }

  /** @throws the fault, where there is nothing else to go by */
  function refuseFile(fault: OperatorError, { current }: Head, file?: string): void {
    if (current === undefined && now === undefined) throw fault
    fileFault = fault
    log('error', 'policy refused', { ...(file === undefined ? {} : { file }), ...describeFault(fault) })
  }

  return {
    current() {
      if (now === undefined) throw missing
      return now.policy
    },
    shadow: () => shadow,
    refresh() {
      if (time.now() < until) return undefined
      waiting ??= begin()
      return waiting
    },
    refused: () => fileFault ?? refused?.fault,
  }
}

interface Place {
  readonly head: Head
  readonly revisions: Pick<PolicyRevisions, 'historyTo' | 'isKept'>
  readonly appliesSaved: boolean
  readonly signal: AbortSignal
}

/**
 * What a start is to do with its file: it is in force already, or is to be applied (`new`), or was applied before, as that revision, so
 * that what was applied since stays.
 */
export async function placeOf(
  file: Pick<PolicyFile, 'text' | 'savedAt'>,
  { head, revisions, appliesSaved, signal }: Place,
): Promise<'current' | 'new' | Revision> {
  const { current } = head
  const digest = digestOf(file.text)
  if (current === undefined) return 'new'
  if (current.revision.digest === digest) return 'current'
  if (appliesSaved && file.savedAt > current.revision.at) return 'new'
  // One read, where the history of years is a scan of many pages.
  if (!(await revisions.isKept(digest, signal))) return 'new'
  // Of the head that was read: what another start has applied since is met when this one does.
  return (await revisions.historyTo(head, signal)).find((each) => !each.shadow && each.digest === digest) ?? 'new'
}

function isSameFile(a: StartPolicy, b: StartPolicy): boolean {
  if (a.file === undefined || b.file === undefined) {
    return a.file === b.file && (a.policy as Partial<Error>).message === (b.policy as Partial<Error>).message
  }
  return a.file.savedAt === b.file.savedAt && a.file.text === b.file.text
}

function usable(policy: Policy | OperatorError): Policy {
  if (policy instanceof OperatorError) throw policy
  return policy
}
