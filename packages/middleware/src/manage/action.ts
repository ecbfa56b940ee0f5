import * as z from 'zod'
import type { ConsumerStore } from '../auth/index.ts'
import type { GenerationStore } from '../cache/index.ts'
import type { CounterStore } from '../limits/index.ts'
import type { Log } from '../pipeline/index.ts'
import type { Group, Limit, Plan, TargetPrices, UsageKept, VirtualModels } from '../policy/index.ts'
import type { Table } from '../storage/index.ts'

/**
 * One thing that an operator can do: a path of `/api/manage`, a part of `/api/openapi.json`, and what a command of the CLI does, on the
 * tables or by that path. All three are made from this.
 */
export interface ManageAction<Input extends z.ZodObject = z.ZodObject, Output extends z.ZodType = z.ZodType> {
  /** In OpenAPI its `operationId`, such as `rotateKey`. */
  readonly id: string
  /** One sentence. */
  readonly summary: string
  /** `GET` takes the scope `read`; all else takes `admin`. What changes something is written down before it takes effect. */
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'
  /** Below `/api/manage`, such as `/keys/{key}/rotate`: fields of the input in braces. */
  readonly path: `/${string}`
  /** Strict. What the path doesn't name stands in the query of a `GET`, where each value is text, and else in the body, as JSON. */
  readonly input: Input
  readonly output: Output
  /** Only looks, though it is no `GET`: its input is too long for a query. */
  readonly changesNothing?: true
  /** Fields of the input that are not written down. What looks like a key never is. */
  readonly secrets?: readonly string[]
  /** The statuses with which it may refuse what its schemas allow: all by default. */
  readonly refuses?: readonly RefusedStatus[]
  /** @throws ManageFault */
  run(input: z.output<Input>, managed: Managed): Promise<z.output<Output>>
}

export type ManageInput<Action extends ManageAction> = z.input<Action['input']>
export type ManageOutput<Action extends ManageAction> = z.output<Action['output']>

/** The action as it is, with its types kept. */
export function manageAction<Input extends z.ZodObject, Output extends z.ZodType>(
  action: ManageAction<Input, Output>,
): ManageAction<Input, Output> {
  return action
}

export const REFUSED_STATUSES = [403, 404, 409, 412, 422] as const
export type RefusedStatus = (typeof REFUSED_STATUSES)[number]

/** A number or a boolean of a `GET`'s input, whose values are texts in a query. */
export function fromQuery<Schema extends z.ZodType>(schema: Schema) {
  return z.preprocess(
    (value) => (typeof value === 'string' && QUERY_VALUE.test(value) ? JSON.parse(value) : value),
    schema,
  )
}

const QUERY_VALUE = /^(?:true|false|-?(?:0|[1-9]\d{0,14}))$/

/** What actions work on: the stores that all instances share. */
export interface Managed {
  readonly consumers: ConsumerStore
  readonly counters: CounterStore
  readonly generations: GenerationStore
  /** The ledger's. */
  readonly usage: Table
  /** The policy's revisions. */
  readonly policies: Table
  /** The policy's name there: each has revisions of its own. */
  readonly policyName: string
  /** Who changed what. */
  readonly audit: Table
  /** What is in force as the action begins. */
  readonly policy: ManagedPolicy
  /** Whether a policy's text can be used: by the app's own settings where an app is asked, by what it says itself on tables. @throws PolicyError */
  check(text: string, source: string): void
  /** By which way it came. */
  readonly from: 'cli' | 'api'
  /** Who does it: `key <public id> (<consumer>)`, `token <consumer>`, or the CLI's user. Never a secret. */
  readonly actor: string
  /** The request that it is asked by; `undefined` on the command line. */
  readonly origin?: { readonly requestId: string; readonly network: string } | undefined
  /** Milliseconds since 1970. */
  readonly wallClock: () => number
  readonly signal: AbortSignal
  readonly log: Log
}

/** As much of a policy as can be told without the app's own settings: both a `Policy` and an outline have it. */
export interface ManagedPolicy {
  readonly plans: ReadonlyMap<string, Plan>
  readonly defaultPlan: string | undefined
  readonly global: readonly Limit[]
  readonly models: ReadonlyMap<string, { readonly name: string; readonly targets: readonly ManagedTarget[] }>
  readonly virtualModels?: VirtualModels
  readonly groups?: readonly Pick<Group, 'name' | 'limits'>[]
  readonly usage: UsageKept
}

export interface ManagedTarget extends TargetPrices {
  /** Only a policy that is in force by the app's settings has it. */
  readonly id?: string
  readonly priority: number
  readonly weight: number
  readonly zone: string | undefined
}
