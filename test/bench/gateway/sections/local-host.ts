import { join } from 'node:path'
import { ROOT, startHost } from '../../../support/host.ts'
import type { Section } from '../../workbench/section.ts'
import { running, type Workbench } from '../../workbench/workbench.ts'
import { type Checkout, functionApp, trivialApp, writePolicy } from '../checkout.ts'
import { TRIVIAL, trivialFunction } from '../floors.ts'
import { gateway } from '../gateway.ts'
import { measure } from '../measure.ts'
import { barsOf, floorTable, roundsOf } from '../tables.ts'
import { HIT } from '../work.ts'

const CONNECTIONS = 16
const SERVERS = join(ROOT, 'test/bench/gateway/servers')

/** What a hit costs in the Function app, beside a function that does nothing. */
export async function localHost(bench: Workbench, checkouts: readonly Checkout[]): Promise<readonly Section[]> {
  const { quick, folder, closing } = bench
  const [tables, model] = await Promise.all([
    running(bench, startHost({}, join(SERVERS, 'table-service.ts'), /tables at (\S+)/)),
    running(bench, startHost({}, join(SERVERS, 'model.ts'), /answers on (\S+)/)),
  ])
  const settings = {
    tables: tables.url,
    model: `${model.url}/v1`,
    policy: writePolicy(folder, { cache: true }),
  }
  const contests = checkouts.map((checkout) => ({
    what: `hit, ${checkout.name}`,
    connections: CONNECTIONS,
    most: 1.5,
    floor: trivialFunction(trivialApp(checkout, folder)),
    others: [
      gateway({
        name: checkout.name,
        command: functionApp(checkout, settings, folder),
        tables: tables.url,
        work: HIT,
        holds: 'hit',
      }),
    ],
  }))
  const measured = await measure(contests, roundsOf(quick), closing)
  return [
    {
      title: 'In a Function app',
      method: `The bundle on the local host, measured in the same way, with ${CONNECTIONS} connections: the answer from memory, beside **${TRIVIAL}** on the same host, which reads the request and answers with a constant: what the host and the Functions library cost.`,
      tables: [floorTable(measured, checkouts)],
      findings: [],
      // Of a checkout that this one is compared to nothing is asked.
      bars: quick
        ? []
        : barsOf(
            measured,
            contests.filter(({ what }) => what.endsWith('now')),
          ),
      must: [],
    },
  ]
}
