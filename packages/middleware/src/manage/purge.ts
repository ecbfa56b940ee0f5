import * as z from 'zod'
import { isTokenConsumer } from '../auth/index.ts'
import type { PurgeSubject } from '../cache/index.ts'
import { ROUTES } from '../policy/index.ts'
import { type Managed, manageAction } from './action.ts'
import { callerId, checkPlan, exactlyOne, invalid, policyName } from './names.ts'

export const purgeCache = manageAction({
  id: 'purgeCache',
  summary:
    'Serves nothing more of what is stored by now, of one kind: `consumer`, `plan`, `route` or `all`. Instances go by it within 5 seconds.',
  method: 'POST',
  path: '/cache/purge',
  refuses: [422],
  input: exactlyOne(
    z.strictObject({
      consumer: callerId.optional().describe('What is stored for this consumer alone.'),
      plan: policyName.optional().describe('What the consumers of this plan share.'),
      route: policyName.optional().describe("All completions of this route, such as generate, whoever's they are."),
      all: z.literal(true).optional().describe('Everything.'),
    }),
    ['consumer', 'plan', 'route', 'all'],
    'Say what to purge',
  ),
  output: z.strictObject({
    purged: z.string().describe('`consumer:…`, `plan:…`, `route:…` or `all`.'),
    known: z
      .boolean()
      .describe('false: there is no such consumer now. What was stored for one of that name is purged all the same.'),
  }),
  async run(meant, managed) {
    const { consumers, generations, signal } = managed
    const purged = subjectOf(meant, managed)
    const { consumer } = meant
    // One of a token has no row.
    const isUnlisted = consumer === undefined || isTokenConsumer(consumer)
    const known = isUnlisted || (await consumers.findConsumer(consumer, signal)) !== undefined
    await generations.renew(purged, signal)
    return { purged, known }
  },
})

function subjectOf({ consumer, plan, route }: z.output<(typeof purgeCache)['input']>, managed: Managed): PurgeSubject {
  if (consumer !== undefined) return `consumer:${consumer}`
  if (plan !== undefined) {
    checkPlan(plan, managed)
    return `plan:${plan}`
  }
  if (route === undefined) return 'all'
  if (ROUTES.includes(route)) return `route:${route}`
  throw invalid('route', `'route': there is no route '${route}'. There are: ${ROUTES.join(', ')}.`, 422)
}
