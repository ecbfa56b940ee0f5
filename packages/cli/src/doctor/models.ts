import {
  azureToken,
  connect,
  connectionCheck,
  costOf,
  dollarsText,
  isSimulated,
  kindOf,
  type Model,
  modelsBehind,
  type Policy,
  routeOf,
  SMALLEST_TOKENS,
  type SmallestCall,
  smallestCall,
  TARGET_KINDS,
  type Target,
} from '@tollgate/middleware'
import { type Examined, UNSEEN } from './environment.ts'
import { fault, ok, type Seen, warn } from './finding.ts'

/* Whether each target answers: one real call each, of a few tokens. */

export interface ModelsOptions {
  readonly policy: Policy
  readonly connectMs: number | undefined
  readonly clientId: string | undefined
  readonly examined: Examined
  readonly signal: AbortSignal
}

/** Of each call, its second try with it, in milliseconds. */
const CALL_MS = 8_000
/** Of a policy with more, the first ones are asked. */
const MOST_TARGETS = 50

export async function modelsSeen({
  policy,
  connectMs,
  clientId,
  examined,
  signal,
}: ModelsOptions): Promise<readonly Seen[]> {
  const targets = [...policy.models.values()].flatMap((model) => model.targets.map((target) => ({ model, target })))
  if (targets.length === 0) return [noModelSeen(examined)]
  const transport = connect({
    token: azureToken(examined.isExported ? undefined : clientId),
    check: connectionCheck({ hosts: () => policy.trustedHosts ?? [] }),
    connectMs,
  })
  const asked = targets.slice(0, MOST_TARGETS)
  const seen = await Promise.all(
    asked.map(async ({ model, target }) => {
      const name = `'${model.name}' at ${target.id}`
      if (Object.values(target.settings).includes(UNSEEN)) {
        return warn(
          `${name}: not asked, since its key is in Key Vault`,
          'Run this in the app, or with the key in the settings.',
        )
      }
      const call = await asking(
        async (path) => smallestCall(transport, target.settings, { path, signal, timeoutMs: CALL_MS }),
        pathsOf(model, target, policy),
      )
      return seenOf(name, call, target, examined)
    }),
  )
  const more = targets.length - asked.length
  return more > 0 ? [...seen, warn(`${more} more targets were not asked`, 'Ask them by requests.')] : seen
}

/** What asking would cost, where nothing is to be asked; of what has no price, that. */
export function unaskedSeen(policy: Policy, examined: Examined): Seen {
  const all = [...policy.models.values()].flatMap((model) => model.targets)
  if (all.length === 0) return noModelSeen(examined)
  const targets = all.filter((target) => !isSimulatedTarget(target))
  const costs = targets.map(({ price }) => price && costOf({ tokens: SMALLEST_TOKENS }, price))
  const known = costs.filter((cost) => cost !== undefined)
  const sum = `$${dollarsText(known.reduce((all, each) => all + each, 0))}`
  const unknown = costs.length - known.length
  return ok(
    `not asked (--no-model). It would be ${targets.length === 1 ? 'one call' : `${targets.length} calls`} of a few tokens: at most ${sum}${unknown > 0 ? `, and what ${unknown} without a price cost` : ''}`,
  )
}

/** A model's own operation is not always known: the next path is asked where one is refused as a question. */
function pathsOf(model: Model, { settings }: Target, policy: Policy): readonly string[] {
  const isBehind = (route: string) =>
    policy.routes.has(route) && modelsBehind(routeOf(policy, route).model, policy.virtualModels).includes(model.name)
  const embeds = isBehind('embeddings') || /embed/i.test(settings.model)
  if (embeds) return ['/embeddings', '/chat/completions']
  const paths = ['/chat/completions', '/embeddings']
  return isBehind('responses') ? ['/responses', ...paths] : paths
}

async function asking(
  ask: (path: string) => Promise<SmallestCall>,
  [path = '', ...others]: readonly string[],
): Promise<SmallestCall> {
  const call = await ask(path)
  const isOther =
    call.outcome === 'not asked' || (call.outcome === 'refused' && [400, 404, 405, 422].includes(call.status))
  if (!isOther || others.length === 0) return call
  const next = await asking(ask, others)
  return next.outcome === 'answered' ? next : call
}

function seenOf(name: string, call: SmallestCall, target: Target, { isExported }: Examined): Seen {
  if (call.outcome === 'answered') {
    return ok(`${name} answers, in ${call.ms} ms${isSimulatedTarget(target) ? ': SIMULATED, no real model' : ''}`)
  }
  if (call.outcome === 'not asked')
    return warn(`${name}: no smallest call is known for this kind`, 'Ask it by a request.')
  const at = call.url === undefined ? '' : ` (${call.url})`
  if (call.outcome === 'timeout') {
    return fault(
      `${name} does not answer within ${CALL_MS / 1_000} s${at}`,
      'See that its address is right, and that the network lets this machine reach it.',
    )
  }
  if (call.outcome === 'unreachable') {
    return call.code === 'address_not_allowed'
      ? fault(`${name} is on an address that is not public${at}`, `Set TOLLGATE_TARGET_HOSTS to its host.`)
      : fault(
          `${name} can't be reached: ${call.code}${at}`,
          UNREACHED[call.code] ?? 'See its address, and the network on the way.',
        )
  }
  const saw = `${name} answers ${call.status}${at}`
  switch (call.status) {
    case 401:
    case 403:
      return fault(saw, rightsFix(target, isExported))
    case 404:
      return fault(
        saw,
        `There is no '${target.settings.model}' there. Correct the model's or deployment's name, or the URL: OPENAI_MODEL_NAME, OPENAI_ENDPOINT, or the target in the policy.`,
      )
    case 429:
      return warn(
        `${saw}: the key works, and the target is busy or its quota is used up`,
        "Raise the deployment's capacity, or give the model another target.",
      )
    case 400:
    case 422:
      return warn(`${saw}: it is there, and takes no question of a few tokens`, 'Ask it by a request.')
    default:
      return fault(
        saw,
        call.status >= 500
          ? "The model's service fails: see its status page, and run it again."
          : 'Correct the URL of the target.',
      )
  }
}

const UNREACHED: Readonly<Record<string, string>> = {
  ENOTFOUND: 'No such host: correct its name, or the DNS of the network.',
  ECONNREFUSED: 'Nothing listens there: start it, or correct the port.',
  CERT_HAS_EXPIRED: 'Its certificate has expired: have it renewed.',
  DEPTH_ZERO_SELF_SIGNED_CERT: 'Its certificate is self-signed: set NODE_EXTRA_CA_CERTS to its authority.',
  SELF_SIGNED_CERT_IN_CHAIN: 'Its authority is not known here: set NODE_EXTRA_CA_CERTS to it.',
}

function rightsFix({ settings }: Target, isExported: boolean): string {
  const { key } = settings as { readonly key?: unknown }
  if (settings.kind !== 'azure' || key !== undefined)
    return "The key is wrong, or may not use this model: set it anew (OPENAI_API_KEY, or the variable that the target's key names)."
  const who = isExported ? 'you are asked here, and not the app; ' : ''
  return `${who}az role assignment create --assignee <its object id> --role "Cognitive Services OpenAI User" --scope <the account's id>`
}

function isSimulatedTarget({ settings }: Target): boolean {
  return isSimulated(kindOf(TARGET_KINDS, settings.kind).place(settings).url)
}

function noModelSeen({ isExported }: Examined): Seen {
  const fix = 'Set OPENAI_ENDPOINT (Azure), OPENAI_BASE_URL or OPENAI_API_KEY, or name targets in the policy.'
  return isExported
    ? fault('no model is configured: requests are answered 500', fix)
    : warn('no model is configured: npm start simulates one, and a deployed app would answer 500', fix)
}
