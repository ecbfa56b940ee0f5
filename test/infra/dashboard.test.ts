import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { metricsText } from '@tollgate/middleware'
import { describe, expect, test } from 'vitest'
import { ROOT } from '../support/host.ts'
import { SOME_TOTALS } from '../support/model-figures.ts'
import { parseMetrics } from '../support/prometheus.ts'

/* The Grafana dashboard, against what /api/metrics writes. */

interface Query {
  readonly title: string
  readonly expr: string
  readonly legendFormat: string
}

interface Panel {
  readonly id: number
  readonly title: string
  readonly targets: readonly { readonly expr: string; readonly legendFormat: string }[]
  readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number }
}

const { panels, templating } = JSON.parse(readFileSync(join(ROOT, 'infra/grafana/tollgate.json'), 'utf8')) as {
  readonly panels: readonly Panel[]
  readonly templating: { readonly list: readonly { readonly name: string; readonly query: unknown }[] }
}
const queries: Query[] = panels.flatMap(({ title, targets }) => targets.map((target) => ({ title, ...target })))

/** Labels by the name of the samples. */
const written = new Map<string, Set<string>>()
for (const { series } of parseMetrics(
  metricsText(SOME_TOTALS, { names: 'tollgate', openMetrics: false, maxBytes: 1e6 }),
)) {
  for (const { name, labels } of series) {
    const known = written.get(name) ?? new Set()
    for (const label of Object.keys(labels)) known.add(label)
    written.set(name, known)
  }
}

/** What a query asks for that /api/metrics doesn't write. */
function faultsOf({ expr, legendFormat }: Pick<Query, 'expr' | 'legendFormat'>): string[] {
  const asked = [...expr.matchAll(/\b([a-z]+_[a-z_]+)(?:\{([^}]*)\})?(?=[[){\s]|$)/g)].filter(
    ([, name]) => name !== 'histogram_quantile',
  )
  const names = asked.map(([, name = '']) => name)
  const kept = [...expr.matchAll(/\bby \(([^)]*)\)/g)].flatMap(([, labels = '']) => labels.split(', '))
  const shown = [...legendFormat.matchAll(/\{\{(\w+)\}\}/g)].map(([, label = '']) => label)
  const faults = names.filter((name) => !written.has(name)).map((name) => `no metric ${name}`)
  for (const [, name = '', matchers = ''] of asked) {
    const labels = [...matchers.matchAll(/(\w+)(?:=~|!~|!=|=)"/g)].map(([, label = '']) => label)
    faults.push(...labels.filter((label) => !written.get(name)?.has(label)).map((label) => `${name}: no ${label}`))
  }
  for (const label of new Set([...kept, ...shown])) {
    if (!names.some((name) => written.get(name)?.has(label))) faults.push(`no label ${label}`)
  }
  const isSummed = /\b(?:sum|max)\b/.test(expr)
  if (isSummed) faults.push(...shown.filter((label) => !kept.includes(label)).map((label) => `summed over ${label}`))
  return names.length === 0 ? ['asks for nothing'] : faults
}

describe('the dashboard', () => {
  test.each(queries.map(({ title, expr, legendFormat }) => [title, expr, legendFormat]))(
    '%s: %s',
    (_title, expr, legendFormat) => {
      expect(faultsOf({ expr, legendFormat })).toEqual([])
    },
  )

  test('shows what an operator looks for first', () => {
    const all = queries.map(({ expr }) => expr).join('\n')
    for (const name of ['cost_usd', 'saved_usd', 'requests', 'refusals', 'upstream_failures', 'upstream_calls']) {
      expect(all).toContain(`tollgate_${name}_total`)
    }
    for (const name of ['time_to_first_token_seconds_bucket', 'unattributed_usd', 'unattributed_tokens']) {
      expect(all).toContain(`tollgate_${name}`)
    }
  })

  test('lets one choose a model by a label that is there', () => {
    const { query } = templating.list.find(({ name }) => name === 'model') ?? {}
    const [, name = '', label = ''] = /label_values\((\w+), (\w+)\)/.exec(JSON.stringify(query)) ?? []
    expect(written.get(name)).toContain(label)
  })

  test('has each panel once, in a place of its own', () => {
    expect(new Set(panels.map(({ id }) => id)).size).toBe(panels.length)
    const places = panels.flatMap(({ gridPos: { x, y, w, h } }) =>
      Array.from({ length: w * h }, (_, cell) => `${x + (cell % w)} ${y + Math.floor(cell / w)}`),
    )
    expect(new Set(places).size).toBe(places.length)
  })
})

describe('a mistake in a query is found:', () => {
  test.each([
    ['a metric that is not there', 'sum(rate(tollgate_costs_total[5m]))', '', 'no metric tollgate_costs_total'],
    ['a histogram without its suffix', 'tollgate_request_duration_seconds', '', 'no metric tollgate_request_duration'],
    ['a label in braces', 'tollgate_cost_usd_total{limit="usd"}', '', 'tollgate_cost_usd_total: no limit'],
    ['a label to sum by', 'sum by (consumer) (tollgate_cost_usd_total)', '', 'no label consumer'],
    ['a label in the legend', 'tollgate_cost_usd_total', '{{target}}', 'no label target'],
    ['a label that was summed up', 'sum(tollgate_cost_usd_total)', '{{model}}', 'summed over model'],
  ])('%s', (_what, expr, legendFormat, fault) => {
    expect(faultsOf({ expr, legendFormat })).toContainEqual(expect.stringContaining(fault))
  })
})
