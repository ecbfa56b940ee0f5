import type { Caller } from '../auth/index.ts'
import {
  type Admits,
  budget,
  type Claim,
  callLimits,
  type Limiter,
  modelLimits,
  SHADOW_SUBJECTS,
  type Subject,
} from '../limits/index.ts'
import type { Call, Reply } from '../operations/index.ts'
import { type BaseContext, describeFault, type Handler, type Middleware, pipeline } from '../pipeline/index.ts'
import type { Policy, WithPolicy } from '../policy/index.ts'
import { route } from '../upstream/index.ts'

/*
 * A revision of the policy that refuses nothing, and is judged on live traffic: beside each request, its own limits, models and
 * rights say what would have become of it.
 */

export interface ShadowOptions {
  /** The real one: what a shadow admits is counted by subjects of its own. */
  readonly limiter: Pick<Limiter, 'admit' | 'admitAtOnce'>
  readonly maxOutputTokens: number
  readonly wallClock: () => number
}

/** What a call is given on its way to the model. */
export interface Judged {
  /** To be told that the cache has no answer, and a model is asked; `undefined` where there is no shadow. */
  readonly onAsked?: (() => void) | undefined
}

export interface Shadow {
  /** The same handler. Where there is a shadow, it is judged beside the call: the call doesn't wait for it. */
  judging<Context extends Known>(handler: Handler<Context & Judged, Call, Reply>): Handler<Context, Call, Reply>
  /** The same middleware, which stands behind the cache: calls that come to it ask a model. */
  asking<Needs extends object, Adds extends object>(
    middleware: Middleware<Needs, Adds, Call, Reply>,
  ): Middleware<Needs & Judged, Adds, Call, Reply>
}

type Known = WithPolicy & { readonly consumer: Caller }

/** What is known of a call while it is judged. */
interface Judging {
  /** Whether a model is asked for it: nothing of tokens and money is taken by what the cache answers. */
  readonly asked: Promise<boolean>
  /** What really became of it: what it took is settled here too. */
  readonly reply: Promise<Reply>
  /** The shadow would have let it come as far as the cache. */
  readonly pass: () => void
  /** And to the model. */
  readonly admit: () => void
}

type Judge = Handler<Known & { readonly judging: Judging }, Call, Reply>

/** What a revision can't be blamed for: it is not known what it would have decided. */
const UNDECIDED: ReadonlySet<string> = new Set([
  'store_unavailable',
  'client_left',
  'shutting_down',
  'request_timeout',
  'slot_lost',
])

/** In the place of a verdict that was not there in time. */
const UNKNOWN = 'unknown'

/**
 * Judges the shadow revision of the policy on the calls that the one in force lets come as far as their route. Its verdict is told
 * as `wouldRefuse`; one that is not there when the request ends is told as `unknown`.
 */
export function shadow({ limiter, maxOutputTokens, wallClock }: ShadowOptions): Shadow {
  const judges = new WeakMap<Policy, Judge>()

  function judgeOf(policy: Policy): Judge {
    let judge = judges.get(policy)
    if (judge === undefined) {
      judge = judgeBy({ limiter: countingApart(limiter, policy.revision), wallClock })
      judges.set(policy, judge)
    }
    return judge
  }

  /** By the middleware that a call goes through, in their order, with what becomes of the real one in the model's place. */
  function judgeBy(limits: { readonly limiter: Admits; readonly wallClock: () => number }): Judge {
    return pipeline<Known & { readonly judging: Judging }, Call, Reply>()
      .use(callLimits(limits))
      .use(route({ maxOutputTokens }))
      .use(modelLimits(limits))
      .use<{ readonly asked: true }>(async function lookedUp(_call, { judging }, next) {
        judging.pass()
        return (await judging.asked) ? next({ asked: true }) : judging.reply
      })
      .use(budget(limits))
      .handle(async (_call, { judging }) => {
        judging.admit()
        return judging.reply
      })
  }

  async function beside<Context extends Known>(
    call: Call,
    context: Context & BaseContext,
    policy: Policy,
    handler: Handler<Context & Judged, Call, Reply>,
  ): Promise<Reply> {
    const { tell, log } = context
    const asked = Promise.withResolvers<boolean>()
    const replied = Promise.withResolvers<Reply>()
    /** `undefined` while it is not there; '' where it would have been let through. */
    let verdict: string | undefined
    let limit: string | undefined
    let isUnchecked = false
    let hasPassed = false
    let isAsked = false
    const judging: Judging = {
      asked: asked.promise,
      reply: replied.promise,
      pass: () => {
        hasPassed = true
      },
      admit: () => {
        verdict ??= isUnchecked ? UNKNOWN : ''
      },
    }
    const onAsked = () => {
      isAsked = true
      asked.resolve(true)
    }
    const replying = handler(call, { ...context, onAsked })
    const judged = judgeOf(policy)(call, {
      ...context,
      policy,
      judging,
      tell(facts) {
        limit = facts.limit ?? limit
        isUnchecked ||= facts.limits !== undefined
      },
      step: () => {},
      log: (level, event, fields) => level === 'error' && log(level, event, { ...fields, shadow: policy.revision }),
    })
    Promise.resolve(judged).then(
      (reply) => {
        // What the policy in force refused is no verdict of this one.
        if (verdict !== undefined || reply.kind !== 'refused' || (hasPassed && !isAsked)) return
        const { code } = reply.refusal
        verdict = UNDECIDED.has(code) ? UNKNOWN : limit === undefined ? code : `${code} ${limit}`
      },
      (fault) => log('error', 'fault', { ...describeFault(fault), shadow: policy.revision }),
    )
    const end = () => {
      const isLetThrough = hasPassed && !isAsked && !isUnchecked
      const wouldRefuse = verdict ?? (isLetThrough ? '' : UNKNOWN)
      tell({ shadow: policy.revision, ...(wouldRefuse === '' ? {} : { wouldRefuse }) })
    }
    let reply: Reply
    try {
      reply = await replying
    } catch (fault) {
      end()
      // What it took nobody knows here: as of a call that failed so, the shadow's reservation counts.
      asked.resolve(false)
      replied.reject(fault)
      throw fault
    }
    asked.resolve(false)
    replied.resolve(reply)
    if (reply.kind !== 'stream') {
      end()
      return reply
    }
    const ended = reply.ended.then((how) => {
      end()
      return how
    })
    return { ...reply, ended }
  }

  return {
    judging: (handler) => (call, context) =>
      context.shadow === undefined ? handler(call, context) : beside(call, context, context.shadow, handler),
    asking: (middleware) => (call, context, next) => {
      context.onAsked?.()
      return middleware(call, context, next)
    },
  }
}

/** The same limiter for a revision that is only judged: what it lets through is counted by subjects of its own. */
function countingApart({ admit, admitAtOnce }: ShadowOptions['limiter'], revision: string): Admits {
  const apart = new WeakMap<Subject, Subject>()
  const subjectOf = (subject: Subject): Subject => {
    let own = apart.get(subject)
    if (own === undefined) {
      own = { id: `${SHADOW_SUBJECTS}${revision}:${subject.id}`, limits: subject.limits }
      apart.set(subject, own)
    }
    return own
  }
  const claimsOf = (claims: readonly Claim[]) =>
    claims.map((claim) => ({ ...claim, subject: subjectOf(claim.subject) }))
  return {
    admit: (claims) => admit(claimsOf(claims)),
    admitAtOnce: (claims) => admitAtOnce(claimsOf(claims)),
  }
}
