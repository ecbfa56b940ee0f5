import { type Call, type Reply, refused } from '../operations/index.ts'
import { type BaseContext, pipeline, type Refusal } from '../pipeline/index.ts'
import type { VirtualModel } from '../policy/index.ts'
import type { Choice } from './pick-model.ts'
import { type Pinned, type Routed, route } from './route.ts'
import { readyRules } from './size-rules.ts'

/** Why a request goes where it goes. */
export interface RouteExplanation {
  /** Each virtual model on the way, and what it picked; one that the plan does not allow is followed by what was picked instead. */
  readonly choices: readonly ExplainedChoice[]
  /** The models that may serve, in the order in which they are asked: the first, and its fallbacks. Empty where it is refused. */
  readonly models: readonly ExplainedModel[]
  readonly refusal: Refusal | undefined
}

export interface ExplainedChoice {
  readonly name: string
  readonly kind: VirtualModel['kind']
  readonly picks: string
  /** Of a route: each rule, whether it holds, and what was found. The first that holds decides. */
  readonly rules: readonly ExplainedRule[]
}

export interface ExplainedRule {
  readonly words: string
  readonly use: 'small' | 'large'
  readonly holds: boolean
  /** What the request has: `tokens = 120`, `no tools`. */
  readonly found: string
}

export type ExplainedModel = Pick<Routed['routed'], 'model' | 'reason' | 'candidates'>

/** More fallbacks than any policy has. */
const MOST_FALLBACKS = 100

/** What `route` does with a call, by `route` itself: nothing is asked. */
export async function explainRoute(
  call: Call,
  { policy, consumer, maxOutputTokens }: Pinned & { readonly maxOutputTokens: number },
): Promise<RouteExplanation> {
  const choices: ExplainedChoice[] = []
  const models: ExplainedModel[] = []
  const explaining = pipeline<Pinned, Call, Reply>()
    .use(route({ maxOutputTokens, onChoice: (choice) => choices.push(explained(choice)) }))
    .handle((_call, { routed }) => {
      for (let next: Routed['routed'] | undefined = routed; next !== undefined; next = next.fallback?.()) {
        models.push(next)
        if (models.length > MOST_FALLBACKS) break
      }
      return refused(ENDS_HERE)
    })
  const reply = await explaining(call, { ...SILENT, policy, consumer })
  const refusal = reply.kind === 'refused' && reply.refusal !== ENDS_HERE ? reply.refusal : undefined
  return { choices, models, refusal }
}

function explained({ model, picks, traits }: Choice): ExplainedChoice {
  const { name, kind } = model
  const rules = model.kind === 'route' ? readyRules(model) : []
  return {
    name,
    kind,
    picks,
    rules: rules.map(({ words, use, conditions }) => ({
      words,
      use,
      holds: conditions.every((condition) => condition.holds(traits())),
      found: conditions.map((condition) => condition.found(traits())).join(', '),
    })),
  }
}

const ENDS_HERE: Refusal = { kind: 'refusal', code: 'dry_run', status: 200, message: 'An explanation asks no model.' }

const SILENT: BaseContext = { requestId: 'explained', log: () => {}, tell: () => {}, step: () => {} }
