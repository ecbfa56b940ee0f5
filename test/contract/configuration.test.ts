import { mkdirSync, mkdtempSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { listText, memoryTable, outlinePolicy, ROUTES } from '@tollgate/middleware'
import { describe, expect, test } from 'vitest'
import { policyOf } from '../../functions/policy-in-force.ts'
import { SETTING_NAMES } from '../../functions/setting-names.ts'
import { readSettings } from '../../functions/settings.ts'
import { ROOT } from '../support/host.ts'

/*
 * What is refused at a start, each with the sentences that it gets: by them alone a person can mend it.
 */

const folder = () => mkdtempSync(join(tmpdir(), 'tollgate-configuration-'))
const folderWith = (files: Record<string, string | Uint8Array>) => {
  const root = folder()
  for (const [name, text] of Object.entries(files)) writeFileSync(join(root, name), text)
  return root
}
const read = (root: string, env: Record<string, string> = {}) =>
  readSettings({ TOLLGATE_STORAGE: 'memory:', ...env }, root)
const refusalOf = (root: string, env: Record<string, string> = {}): string => {
  try {
    read(root, env)
  } catch (error) {
    const { operatorMessage } = error as { operatorMessage?: string }
    if (operatorMessage === undefined) throw error
    return operatorMessage
  }
  throw new Error('nothing was refused')
}
const refused = (source: string, ...faults: readonly string[]) =>
  `${source} was refused:\n${faults.map((fault) => `  - ${fault}`).join('\n')}`

const POLICIES: readonly (readonly [what: string, text: string | Buffer, ...faults: string[]])[] = [
  [
    'an empty file',
    '',
    'the document is empty, so no limit would hold but the defaults. Write the policy into it, or remove the file to have the defaults.',
  ],
  [
    'comments alone',
    '# plans:\n#   free: …\n',
    'the document is empty, so no limit would hold but the defaults. Write the policy into it, or remove the file to have the defaults.',
  ],
  [
    'null',
    'null\n',
    'the document is empty, so no limit would hold but the defaults. Write the policy into it, or remove the file to have the defaults.',
  ],
  [
    'a list',
    '- plans\n',
    'the document: must be a map with plans, global, storeDown, unpriced, models, routes, identity, groups and usage, not a list of 1.',
  ],
  [
    'a text',
    'plans\n',
    'the document: must be a map with plans, global, storeDown, unpriced, models, routes, identity, groups and usage, not "plans".',
  ],
  [
    'several documents',
    'plans: {a: {limits: []}}\n---\nplans: {b: {limits: []}}\n',
    "the file holds several documents, separated by '---'. Keep one: a policy is one document.",
  ],
  ['UTF-16', Buffer.from('\uFEFFplans: {}', 'utf16le'), 'it is UTF-16, or no text at all. Save it as UTF-8.'],
  ['Latin-1', Buffer.from('# Gebühren\nplans: {}\n', 'latin1'), 'it is not UTF-8. Save it as UTF-8.'],
  [
    'a tab',
    'plans:\n\tfree: {limits: []}\n',
    'not valid YAML or JSON at line 2, column 1: a tab indents the line, and YAML takes spaces only. Replace the tabs by spaces.',
  ],
  [
    'a wrong indent',
    'plans:\n  free:\n    limits: []\n   pro:\n    limits: []\n',
    'not valid YAML or JSON at line 4, column 1: the indentation fits no line above. Indent the fields of one map by the same number of spaces.',
  ],
  [
    'an open bracket',
    'plans:\n  free: { limits: [ {requests: 10, per: 1m} ]\n',
    'not valid YAML or JSON at line 3, column 1: the document ends inside a bracket, a brace or a quoted text. Close it.',
  ],
  [
    'no space after a colon',
    'plans:\n  free:{limits: []}\n',
    'not valid YAML or JSON at line 2, column 19: a colon needs a space behind it. Write name: value.',
  ],
  [
    'a tag',
    'models:\n  m:\n    targets: [ {openai: {model: m, key: !env OPENAI_API_KEY}} ]\n',
    'not valid YAML or JSON at line 3, column 41: tags (a word that begins with !) are not used. Remove it; for a variable write {env: NAME}.',
  ],
  [
    'JSON with comments',
    '{\n  // the plans\n  "plans": {}\n}\n',
    'not valid YAML or JSON at line 2: JSON has no comments. Remove it, or let it begin with #.',
  ],
  [
    'a name twice',
    'plans:\n  free: {limits: [{requests: 5, per: 1m}]}\n  pro: {limits: []}\n  free: {limits: []}\n',
    'plans.free: stands twice, once at line 2 and again at line 4, and only one would hold. Keep one.',
  ],
  [
    'a merge key',
    'plans:\n  a: &a {limits: []}\n  b:\n    <<: *a\n',
    'plans.b.<<: merge keys (<<) are not part of YAML 1.2. Write the fields out, or use an alias for a whole value.',
  ],
  [
    'an alias without anchor',
    'plans:\n  a: {limits: *standard}\n',
    'plans.a.limits: the alias *standard has no anchor &standard before it. Define it, or put text that begins with * in quotes.',
  ],
  [
    'an alias bomb',
    'a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e]\ng: &g [*f,*f,*f,*f,*f,*f,*f,*f,*f]\nh: &h [*g,*g,*g,*g,*g,*g,*g,*g,*g]',
    'the document has 54,481,005 values, with its aliases written out, and may have 200,000. Use fewer plans, or fewer aliases.',
  ],
  [
    'brackets in brackets',
    `plans: ${'['.repeat(5_000)}`,
    'not valid YAML or JSON: it is nested deeper than 32 levels, and a policy never is.',
  ],
  [
    'a typo at the top',
    'plan:\n  free: {limits: []}\n',
    "line 1, plan: unknown field. Did you mean 'plans'? The document takes plans, global, storeDown, unpriced, models, routes, identity, groups and usage.",
  ],
  [
    'a field in the wrong place',
    'limits: [{requests: 10, per: 1m}]\n',
    'line 1, limits: unknown field. It belongs under plans.<name>, under plans.<name>.shared, under global or under groups.<name>. The document takes plans, global, storeDown, unpriced, models, routes, identity, groups and usage.',
  ],
  [
    'a typo in a plan',
    'plans:\n  free:\n    limts: []\n',
    "line 3, plans.free.limts: unknown field. Did you mean 'limits'? plans.free takes limits, shared, models, tiers, tools and zones.",
  ],
  [
    'a plan without limits',
    'plans:\n  free: {}\n',
    'line 2, plans.free.limits: missing. Write for instance limits: [{requests: 10, per: 1m}], or [] for none.',
  ],
  [
    'a plan that is empty',
    'plans:\n  free:\n',
    'line 2, plans.free: must be a map with limits, shared, models, tiers, tools and zones, and it is empty. Give it a value, or remove it.',
  ],
  [
    'no plans',
    'plans: {}\n',
    'line 1, plans: there is none, so every request would be refused. Name one, or leave plans out for the default.',
  ],
  [
    'plans as a list',
    'plans:\n  - name: free\n    limits: []\n',
    'line 1, plans: must be a map of names, such as {default: {limits: [{requests: 10, per: 1m}]}}, not a list of 1.',
  ],
  [
    'a plan’s name with a slash',
    'plans:\n  team/a: {limits: []}\n',
    'line 2, plans["team/a"]: a name must be 1 to 64 letters, digits, dots, dashes or underscores. Rename it.',
  ],
  [
    'limits as a map',
    'plans:\n  free:\n    limits: {requests: 10, per: 1m}\n',
    'line 3, plans.free.limits: must be a list of 0 to 16 entries, such as [{requests: 10, per: 1m}], or [] for none, not a map. Put it in brackets, or let each entry begin with a dash.',
  ],
  [
    'a limit as a number',
    'plans:\n  free:\n    limits: [10]\n',
    'line 3, plans.free.limits[0]: must be a limit such as {requests: 10, per: 1m}, not 10.',
  ],
  [
    'a limit of nothing known',
    'plans:\n  free:\n    limits:\n      - {rpm: 10, per: 1m}\n',
    "line 4, plans.free.limits[0]: needs one of requests, tokens, usd or concurrent. Did you mean 'requests' by 'rpm'? It must be a limit such as {requests: 10, per: 1m}.",
  ],
  [
    'a limit on two things',
    'plans:\n  free:\n    limits:\n      - {requests: 10, tokens: 1000, per: 1m}\n',
    'line 4, plans.free.limits[0]: has requests and tokens, and each is one of its own. Write one entry for each.',
  ],
  [
    'a typo in a limit',
    'plans:\n  free:\n    limits:\n      - {requests: 10, per: 1m, brust: 5}\n',
    "line 4, plans.free.limits[0].brust: unknown field. Did you mean 'burst'? plans.free.limits[0] takes requests, per, burst, strict and model.",
  ],
  [
    'a number as text',
    'plans:\n  free:\n    limits:\n      - {requests: "10", per: 1m}\n',
    'line 4, plans.free.limits[0].requests: must be a whole number from 1 to 1,000,000,000, not "10". Leave the quotes out: 10.',
  ],
  [
    'a number with separators',
    'plans:\n  free:\n    limits:\n      - {tokens: 20k, per: 1m}\n',
    'line 4, plans.free.limits[0].tokens: must be a whole number from 1 to 1,000,000,000,000, not "20k". Write digits alone, without separators, units or signs.',
  ],
  [
    'zero',
    'plans:\n  free:\n    limits:\n      - {requests: 0, per: 1m}\n',
    'line 4, plans.free.limits[0].requests: must be a whole number from 1 to 1,000,000,000, not 0.',
  ],
  [
    'a negative amount',
    'plans:\n  free:\n    limits:\n      - {usd: -5, per: month}\n',
    'line 4, plans.free.limits[0].usd: must be a number from 0.000000001 to 1,000,000, not -5.',
  ],
  [
    'not a number',
    'plans:\n  free:\n    limits:\n      - {usd: .nan, per: month}\n',
    'line 4, plans.free.limits[0].usd: must be a number from 0.000000001 to 1,000,000, not NaN.',
  ],
  [
    'too many',
    'plans:\n  free:\n    limits:\n      - {requests: 1e12, per: 1m}\n',
    'line 4, plans.free.limits[0].requests: must be a whole number from 1 to 1,000,000,000, not 1000000000000.',
  ],
  [
    'half a request',
    'plans:\n  free:\n    limits:\n      - {requests: 1.5, per: 1m}\n',
    'line 4, plans.free.limits[0].requests: must be a whole number from 1 to 1,000,000,000, not 1.5.',
  ],
  [
    '1min',
    'plans:\n  free:\n    limits:\n      - {requests: 10, per: 1min}\n',
    'line 4, plans.free.limits[0].per: must be a duration such as 30s or 1m, or minute, hour, day or month, not "1min". Did you mean 1m?',
  ],
  [
    '1 month',
    'plans:\n  free:\n    limits:\n      - {usd: 5, per: 1 month}\n',
    'line 4, plans.free.limits[0].per: must be minute, hour, day or month, not "1 month". Did you mean month?',
  ],
  [
    '60',
    'plans:\n  free:\n    limits:\n      - {requests: 10, per: 60}\n',
    'line 4, plans.free.limits[0].per: must be a duration such as 30s or 1m, or minute, hour, day or month, not 60. A number needs its unit: 60s for seconds.',
  ],
  [
    'no period',
    'plans:\n  free:\n    limits:\n      - {requests: 10}\n',
    'line 4, plans.free.limits[0].per: missing. It must be a duration such as 30s or 1m, or minute, hour, day or month.',
  ],
  [
    'a week',
    'plans:\n  free:\n    limits:\n      - {requests: 10, per: week}\n',
    'line 4, plans.free.limits[0].per: must be a duration such as 30s or 1m, or minute, hour, day or month, not "week". Did you mean 7d?',
  ],
  [
    'money by minutes',
    'plans:\n  free:\n    limits:\n      - {usd: 5, per: 30d}\n',
    'line 4, plans.free.limits[0].per: must be minute, hour, day or month, not "30d". Did you mean month?',
  ],
  [
    'strict yes',
    'plans:\n  free:\n    limits:\n      - {requests: 10, per: 1m, strict: yes}\n',
    'line 4, plans.free.limits[0].strict: must be true or false, not "yes". Write true.',
  ],
  [
    'strict and burst',
    'plans:\n  free:\n    limits:\n      - {requests: 10, per: 1m, strict: true, burst: 5}\n',
    "line 4, plans.free.limits[0]: 'strict' and 'burst' contradict each other. Remove one.",
  ],
  [
    'a limit twice',
    'plans:\n  free:\n    limits:\n      - {requests: 10, per: 1m}\n      - {requests: 20, per: 60s}\n',
    'line 5, plans.free.limits[1]: a second limit on requests per 60s. Keep the smaller.',
  ],
  [
    'a limit on a missing model',
    'plans:\n  free:\n    limits:\n      - {requests: 10, per: 1m, model: smal}\nmodels:\n  small: {targets: [{openai: {model: m}}]}\n',
    "line 4, plans.free.limits[0].model: there is no model 'smal' under models. Did you mean 'small'? There are: small and default.",
  ],
  [
    'dollars without a price',
    'plans:\n  free:\n    limits:\n      - {usd: 5, per: month}\n',
    'line 4, plans.free.limits[0]: a limit in dollars, and no model has a price, so each request would be refused. Write models.default.price, such as {input: 0.15, output: 0.60} (dollars per million tokens), or remove the limit.',
  ],
  [
    'dollars on a model without one',
    'plans:\n  free:\n    limits:\n      - {usd: 5, per: month, model: small}\nmodels:\n  small: {targets: [{openai: {model: m}}]}\n  big: {targets: [{openai: {model: m}}], price: {input: 1, output: 2}}\n',
    "line 4, plans.free.limits[0]: a limit in dollars on the model 'small', which has no price, so each request for it would be refused. Write models.small.price, such as {input: 0.15, output: 0.60} (dollars per million tokens), or remove the limit.",
  ],
  [
    'worst of nothing',
    'unpriced: worst\nmodels:\n  small: {targets: [{openai: {model: m}}]}\n',
    "line 1, unpriced: 'worst' is the highest price of any model, and none has one. Give one a price.",
  ],
  [
    'an unknown word',
    'storeDown: opened\n',
    'line 1, storeDown: must be closed or open, not "opened". Did you mean open?',
  ],
  [
    'a price as text',
    'models:\n  default: {price: {input: $2, output: 8}}\n',
    'line 2, models.default.price.input: must be a number from 0 to 10,000, not "$2". Write digits alone, without separators, units or signs.',
  ],
  [
    'half a price',
    'models:\n  default: {price: {input: 2}}\n',
    'line 2, models.default.price.output: missing. Write for instance output: 0.60, the dollars per million tokens.',
  ],
  [
    'a price by the token',
    'models:\n  default: {price: {input: 0.0000025, output: 0.00001}}\n',
    'line 2, models.default.price.input: must have at most 6 decimals: it is dollars per million tokens, not 0.0000025.',
  ],
  [
    'a price of another name',
    'models:\n  default: {price: {prompt: 2, completion: 8}}\n',
    "line 2, models.default.price.prompt: unknown field. Did you mean 'input'? models.default.price takes input, output, cachedInput, cacheWrite, cacheWriteLong, audioInput, imageInput, audioOutput, imageOutput, above, like and 4 more.",
    "line 2, models.default.price.completion: unknown field. Did you mean 'output'? models.default.price takes input, output, cachedInput, cacheWrite, cacheWriteLong, audioInput, imageInput, audioOutput, imageOutput, above, like and 4 more.",
  ],
  [
    'a price from the cache above the other',
    'models:\n  default: {price: {input: 2, cachedInput: 3, output: 8}}\n',
    'line 2, models.default.price.cachedInput: must not be above input. Raise input or lower cachedInput.',
  ],
  [
    'a model without a target',
    'models:\n  small: {price: {input: 2, output: 8}}\n',
    "line 2, models.small.targets: missing. Only 'default' may go without: the OPENAI_* settings serve it.",
  ],
  [
    'a target of no kind',
    'models:\n  small:\n    targets: [{opnai: {model: m}}]\n',
    "line 3, models.small.targets[0]: needs one of azure, openai or generate. Did you mean 'openai' by 'opnai'? It must be {azure: …}, {openai: …} or {generate: …}.",
  ],
  [
    'a target as text',
    'models:\n  small:\n    targets: [gpt-4o]\n',
    'line 3, models.small.targets[0]: must be {azure: …}, {openai: …} or {generate: …}.',
  ],
  [
    'a typo in a target',
    'models:\n  small:\n    targets: [{openai: {modle: m}}]\n',
    "line 3, models.small.targets[0].openai.modle: unknown field. Did you mean 'model'? models.small.targets[0].openai takes baseUrl, model, key and headers.",
  ],
  [
    'a key in the policy',
    'models:\n  small:\n    targets: [{openai: {model: m, key: sk-proj-HUSH}}]\n',
    'line 3, models.small.targets[0].openai.key: must be {env: NAME}: a secret is never written into a policy.',
  ],
  [
    'a variable with a dollar',
    'models:\n  small:\n    targets: [{openai: {model: m, key: {env: $OPENAI_API_KEY}}}]\n',
    'line 3, models.small.targets[0].openai.key.env: must be the name of an environment variable, such as OPENAI_API_KEY.',
  ],
  [
    'a variable that is not set',
    'models:\n  small:\n    targets: [{openai: {model: m, key: {env: OPENAI_KEY_EU}}}]\n',
    'line 3, models.small.targets[0]: key: the environment variable OPENAI_KEY_EU is not set.',
  ],
  [
    'a variable that it may not read',
    'models:\n  small:\n    targets: [{openai: {model: m, key: {env: TEAM_KEY}}}]\n',
    'line 3, models.small.targets[0]: key: a policy may not read TEAM_KEY. List it in the app setting TOLLGATE_POLICY_ENV.',
  ],
  [
    'a target twice',
    'models:\n  small:\n    targets: [{openai: {model: m}}, {openai: {model: m}}]\n',
    'line 3, models.small.targets[1]: is the same place as models.small.targets[0], asked by the same key. Keep one, with the weight of both.',
  ],
  [
    'weights of 0 alone',
    'models:\n  small:\n    targets: [{openai: {model: m}, weight: 0}]\n',
    'line 3, models.small.targets: each has the weight 0, so none would be asked. Give one a weight of at least 1.',
  ],
  [
    'a target among several of no kind',
    'models:\n  small:\n    targets:\n      - {openai: {model: m}}\n      - {priority: 2, weight: 90}\n',
    'line 5, models.small.targets[1]: needs one of azure, openai or generate. It must be {azure: …}, {openai: …} or {generate: …}.',
  ],
  [
    'a tier in the order without a price',
    'models:\n  small:\n    targets: [{openai: {model: m}}]\n    tiers: [flex, default]\n    price: {input: 1, output: 2}\n',
    "line 4, models.small.tiers[0]: 'flex' has no price. Write models.small.price.tiers.flex, such as 0.5 for half the price, or leave the tier out.",
  ],
  [
    'tiers as text',
    'models:\n  small: {targets: [{openai: {model: m}}], tiers: flex}\n',
    'line 2, models.small.tiers: must be a list of 1 to 8 entries, not "flex".',
  ],
  [
    'a budget of retries as a number',
    'models:\n  small:\n    targets: [{openai: {model: m}}]\n    retry: {budget: 0.1}\n',
    'line 4, models.small.retry.budget: must be a percentage from 0% to 100%, such as 10%, not 0.1.',
  ],
  [
    'retries as true',
    'models:\n  small: {targets: [{openai: {model: m}}], retry: true}\n',
    'line 2, models.small.retry: must be false, or {attempts: 3, budget: 10%}, not true.',
  ],
  [
    'a fallback to a missing model',
    'models:\n  small: {targets: [{openai: {model: m}}], fallback: lagre}\n  large: {targets: [{openai: {model: n}}]}\n',
    "line 2, models.small.fallback: there is no model 'lagre' under models. Did you mean 'large'? There are: small, large and default.",
  ],
  [
    'fallbacks in a circle',
    'models:\n  small: {targets: [{openai: {model: m}}], fallback: large}\n  large: {targets: [{openai: {model: n}}], fallback: small}\n',
    'line 2, models.small.fallback: comes back to itself: small → large → small. Remove one of these fallbacks.',
  ],
  [
    'an alias with a price',
    'models:\n  small: {targets: [{openai: {model: m}}]}\n  s:\n    alias: small\n    price: {input: 1, output: 2}\n',
    'line 5, models.s.price: an alias has none of its own: that of the model that it picks holds. Write it under small, or remove it.',
  ],
  [
    'a split of a missing model',
    'models:\n  small: {targets: [{openai: {model: m}}]}\n  ab:\n    split: {small: 90, lamda: 10}\n  lambda: {targets: [{openai: {model: n}}]}\n',
    "line 4, models.ab.split.lamda: there is no model 'lamda' under models. Did you mean 'lambda'? There are: small, ab, lambda and default.",
  ],
  [
    'a split as a list',
    'models:\n  ab: {split: [small, large]}\n',
    'line 2, models.ab.split: must be a map of names, such as {chat: 90, lambda: 10}, not a list of 2.',
  ],
  [
    'a route of a model as text',
    'models:\n  auto: {route: small}\n',
    'line 2, models.auto.route: must be a map with small, large and rules, such as {small: mini, large: chat, rules: [{tokens: 2000}]}, not "small".',
  ],
  [
    'a rule that says nothing',
    'models:\n  a: {targets: [{openai: {model: m}}]}\n  auto:\n    route:\n      small: a\n      large: default\n      rules:\n        - {use: large}\n',
    'line 8, models.auto.route.rules[0]: says nothing of the request, so it would always hold. Name what it asks for, such as {tokens: 2000}.',
  ],
  [
    'a limit on a split',
    'plans:\n  free:\n    limits:\n      - {requests: 1, per: 1m, model: ab}\nmodels:\n  a: {targets: [{openai: {model: m}}]}\n  ab: {split: {a: 1, default: 1}}\n',
    "line 4, plans.free.limits[0].model: 'ab' picks a model for each request, by which that is counted. Write a limit for each: a and default.",
  ],
  [
    'a plan of a split, and of nothing that it picks',
    'plans:\n  free: {limits: [], models: [ab]}\nmodels:\n  a: {targets: [{openai: {model: m}}]}\n  ab: {split: {a: 1, default: 1}}\n',
    "line 2, plans.free.models[0]: 'ab' picks a or default, and the plan lists none of them, so each request for it would be refused. List them too.",
  ],
  [
    'a zone of no target',
    'plans:\n  free: {limits: [], zones: [ue]}\nmodels:\n  a: {targets: [{openai: {model: m}, zone: eu}]}\n',
    "line 2, plans.free.zones[0]: no target says that it is in the zone 'ue'. Did you mean 'eu'? There are: eu. Write zone: ue at those that are.",
  ],
  [
    'zones that leave nothing',
    'plans:\n  free: {limits: [], zones: [eu], models: [b]}\nmodels:\n  a: {targets: [{openai: {model: m}, zone: eu}]}\n  b: {targets: [{openai: {model: n}}]}\n',
    'line 2, plans.free.zones: none of the models that the plan may use has a target in eu, so each request would be refused. Give a target its zone, list another model, or remove the zones.',
  ],
  [
    'a host that it may not reach',
    'models:\n  small:\n    targets: [{openai: {model: m, baseUrl: https://llm.example/v1}}]\n',
    "line 3, models.small.targets[0]: 'llm.example' is no known model host. List it in the app setting TOLLGATE_TARGET_HOSTS.",
  ],
  [
    'an address that is none',
    'models:\n  small:\n    targets: [{azure: {endpoint: my-resource, deployment: d}}]\n',
    'line 3, models.small.targets[0].azure.endpoint: must be a URL, or {env: NAME}.',
  ],
  [
    'a route that there is not',
    'routes:\n  summaries: {model: default}\n',
    `line 2, routes.summaries: unknown field. Remove it, or correct its name. routes takes ${listText(ROUTES)}.`,
  ],
  [
    'a route to a missing model',
    'routes:\n  generate: {model: samll}\nmodels:\n  small: {targets: [{openai: {model: m}}]}\n',
    "line 2, routes.generate.model: there is no model 'samll' under models. Did you mean 'small'? There are: small and default.",
  ],
  [
    'a cache that is true',
    'routes:\n  generate:\n    cache: true\n',
    'line 3, routes.generate.cache: must be false, or {ttl: 1h, scope: consumer, sampled: true, tools: false}, not true.',
  ],
  [
    'a ttl as a number',
    'routes:\n  generate:\n    cache: {ttl: 3600}\n',
    'line 3, routes.generate.cache.ttl: must be a duration such as 30s, 1m, 2h or 1d, not 3600. A number needs its unit: 3600s for seconds.',
  ],
  [
    'a ttl in words',
    'routes:\n  generate:\n    cache: {ttl: 1 hour}\n',
    'line 3, routes.generate.cache.ttl: must be a duration such as 30s, 1m, 2h or 1d, not "1 hour". Did you mean 1h?',
  ],
  [
    'a ttl too long',
    'routes:\n  generate:\n    cache: {ttl: 90d}\n',
    'line 3, routes.generate.cache.ttl: must be at most 30d. Shorten it.',
  ],
  [
    'a scope of another name',
    'routes:\n  generate:\n    cache: {scope: global}\n',
    'line 3, routes.generate.cache.scope: must be consumer, plan or shared, not "global".',
  ],
  [
    'a transform as text',
    'routes:\n  generate:\n    transforms: {minifyJson: "on"}\n',
    'line 3, routes.generate.transforms.minifyJson: must be true or false, not "on". Write true.',
  ],
  [
    'a window of tokens',
    'models:\n  default: {contextWindow: 128k}\n',
    'line 2, models.default.contextWindow: must be a whole number from 1 to 100,000,000, not "128k". Write digits alone, without separators, units or signs.',
  ],
]

test.each(POLICIES.map(([what, text, ...faults]) => ({ what, text, faults })))(
  'I6: a policy with $what is refused',
  ({ text, faults }) => {
    const root = folderWith({ 'tollgate.policy.yaml': text })
    const message = refused('tollgate.policy.yaml', ...faults)
    expect(refusalOf(root, { OPENAI_API_KEY: 'k' })).toBe(message)
    expect(message).not.toContain('HUSH')
    // What a policy says by itself is told to tools in the same words.
    const outline = () => outlinePolicy({ root, path: undefined })
    const ofSettings = faults.some((fault) => / model host| may not read | is not set| is the same place /.test(fault))
    if (ofSettings) expect(outline).not.toThrow()
    else expect(outline).toThrow(message)
  },
)

const SETTINGS: readonly (readonly [what: string, settings: Record<string, string>, sentence: string])[] = [
  [
    'no storage',
    { TOLLGATE_STORAGE: '' },
    'No storage is configured: set TOLLGATE_STORAGE to a connection string or to https://<account>.table.core.windows.net (or give the Function app its own account by AzureWebJobsStorage).',
  ],
  [
    'a storage of no form',
    { TOLLGATE_STORAGE: 'mystorage' },
    'TOLLGATE_STORAGE is neither a storage connection string, nor https://<account>.table.core.windows.net (or .table.cosmos.azure.com), nor memory:',
  ],
  [
    'a storage without TLS',
    { TOLLGATE_STORAGE: 'TableEndpoint=http://tables.example/x;AccountName=a' },
    'TOLLGATE_STORAGE points to plain http outside this machine. Use https.',
  ],
  [
    'a typo',
    { TOLLGATE_POLCY: 'policy.yaml' },
    'TOLLGATE_POLCY is no setting. Did you mean TOLLGATE_POLICY? Rename it, or unset it.',
  ],
  [
    'a typo of a storage',
    { TOLLGATE_STORGE: 'memory:' },
    'TOLLGATE_STORGE is no setting. Did you mean TOLLGATE_STORAGE? Rename it, or unset it.',
  ],
  [
    'an abbreviation',
    { TOLLGATE_MAX_TOKENS: '100' },
    'TOLLGATE_MAX_TOKENS is no setting. Did you mean TOLLGATE_MAX_OUTPUT_TOKENS? Rename it, or unset it.',
  ],
  [
    'an unknown one',
    { TOLLGATE_LOG_LEVEL: 'debug' },
    'TOLLGATE_LOG_LEVEL is no setting. Unset it. docs/settings.md lists the settings that there are.',
  ],
  [
    'another prefix',
    { TOLGATE_REDIS: 'redis://127.0.0.1' },
    'TOLGATE_REDIS is no setting. Did you mean TOLLGATE_REDIS? Rename it, or unset it.',
  ],
  [
    'lower case',
    { tollgate_policy: 'policy.yaml' },
    'tollgate_policy is no setting. Did you mean TOLLGATE_POLICY? Rename it, or unset it.',
  ],
  [
    'dashes',
    { 'TOLLGATE-POLICY': 'policy.yaml' },
    'TOLLGATE-POLICY is no setting. Did you mean TOLLGATE_POLICY? Rename it, or unset it.',
  ],
  [
    'no underscore',
    { TOLLGATEPOLICY: 'policy.yaml' },
    'TOLLGATEPOLICY is no setting. Did you mean TOLLGATE_POLICY? Rename it, or unset it.',
  ],
  [
    'two underscores',
    { TOLLGATE__POLICY: 'policy.yaml' },
    'TOLLGATE__POLICY is no setting. Did you mean TOLLGATE_POLICY? Rename it, or unset it.',
  ],
  [
    'a policy that is not there',
    { TOLLGATE_POLICY: 'ruls.yaml' },
    'ruls.yaml was refused:\n  - the file does not exist. Correct TOLLGATE_POLICY or unset it. Did you mean rules.yaml?',
  ],
  [
    'a policy that is blank',
    { TOLLGATE_POLICY: ' ' },
    'TOLLGATE_POLICY was refused:\n  - it is blank. Set the path of the policy, or unset it.',
  ],
  [
    'a policy that is a folder',
    { TOLLGATE_POLICY: '.' },
    '. was refused:\n  - it is a folder. Name the file in it by TOLLGATE_POLICY.',
  ],
  [
    'the policy itself',
    { TOLLGATE_POLICY: 'plans: {free: {limits: []}}'.repeat(20) },
    'plans: {free: {limits: []}}plans: {free: {limits: []}}plans: {free: {limits: []}}plans: {free: {limits: []}}plans: {free: {limits: []}}plans: {free: {limits: []}}plans: {free: {limits: []}}plans: {fre… was refused:\n  - its name is too long for a file. TOLLGATE_POLICY takes a path, not the policy itself.',
  ],
  [
    'a unit',
    { TOLLGATE_MAX_BODY_BYTES: '1MB' },
    'TOLLGATE_MAX_BODY_BYTES must be a whole number from 1 to 104857600, in bytes: digits alone, such as 1048576.',
  ],
  [
    'zero',
    { TOLLGATE_MAX_OUTPUT_TOKENS: '0' },
    'TOLLGATE_MAX_OUTPUT_TOKENS must be a whole number from 1 to 1000000, in tokens: digits alone, such as 4096.',
  ],
  [
    'a negative number',
    { TOLLGATE_IDLE_MS: '-1' },
    'TOLLGATE_IDLE_MS must be a whole number from 100 to 220000, in milliseconds: digits alone, such as 120000.',
  ],
  [
    'seconds',
    { TOLLGATE_FIRST_BYTE_MS: '30s' },
    'TOLLGATE_FIRST_BYTE_MS must be a whole number from 100 to 220000, in milliseconds: digits alone, such as 120000.',
  ],
  [
    'a fraction',
    { TOLLGATE_TOTAL_MS: '1.5' },
    'TOLLGATE_TOTAL_MS must be a whole number from 100 to 220000, in milliseconds: digits alone, such as 200000.',
  ],
  [
    'an exponent',
    { TOLLGATE_STORE_DEADLINE_MS: '1e3' },
    'TOLLGATE_STORE_DEADLINE_MS must be a whole number from 10 to 60000, in milliseconds: digits alone, such as 2000.',
  ],
  [
    'too much',
    { TOLLGATE_CACHE_DEADLINE_MS: '999999999' },
    'TOLLGATE_CACHE_DEADLINE_MS must be a whole number from 1 to 60000, in milliseconds: digits alone, such as 50.',
  ],
  [
    'forever',
    { TOLLGATE_STREAM_TOTAL_MS: 'Infinity' },
    'TOLLGATE_STREAM_TOTAL_MS must be a whole number from 100 to 3600000, in milliseconds: digits alone, such as 1800000.',
  ],
  [
    'a Redis without TLS',
    { TOLLGATE_REDIS: 'redis://:HUSH@cache.example:6379' },
    'TOLLGATE_REDIS points to a Redis outside this machine without TLS. Use rediss://.',
  ],
  [
    'a Redis as Azure’s portal has it',
    { TOLLGATE_REDIS: 'cache.example:6380,password=HUSH,ssl=True' },
    'TOLLGATE_REDIS must be rediss://[[user]:password@]host[:port][/database], with user and password URL-encoded.',
  ],
  [
    'a host with a protocol',
    { TOLLGATE_TARGET_HOSTS: 'https://llm.example' },
    'TOLLGATE_TARGET_HOSTS lists names of hosts, without protocol, port and path, separated by commas, such as llm.example.com,*.corp.example: entry 1 is none. Did you mean llm.example?',
  ],
  [
    'a host with a path',
    { TOLLGATE_TARGET_HOSTS: 'one.example, llm.example/v1' },
    'TOLLGATE_TARGET_HOSTS lists names of hosts, without protocol, port and path, separated by commas, such as llm.example.com,*.corp.example: entry 2 is none. Did you mean llm.example?',
  ],
  [
    'a host with a port',
    { TOLLGATE_TARGET_HOSTS: 'llm.example:8443' },
    'TOLLGATE_TARGET_HOSTS lists names of hosts, without protocol, port and path, separated by commas, such as llm.example.com,*.corp.example: entry 1 is none. Did you mean llm.example?',
  ],
  [
    'all hosts',
    { TOLLGATE_TARGET_HOSTS: '*' },
    'TOLLGATE_TARGET_HOSTS lists names of hosts, without protocol, port and path, separated by commas, such as llm.example.com,*.corp.example: entry 1 is none.',
  ],
  [
    'hosts with semicolons',
    { TOLLGATE_TARGET_HOSTS: 'a.example;b.example' },
    'TOLLGATE_TARGET_HOSTS lists names of hosts, without protocol, port and path, separated by commas, such as llm.example.com,*.corp.example: entry 1 is none.',
  ],
  [
    'a variable with a dollar',
    { TOLLGATE_POLICY_ENV: '$TEAM_KEY' },
    'TOLLGATE_POLICY_ENV lists names of variables, in capitals, digits and underscores, separated by commas, such as TEAM_KEY,LLM_*: entry 1 is none.',
  ],
  [
    'a variable in lower case',
    { TOLLGATE_POLICY_ENV: 'TEAM_KEY, team_key' },
    'TOLLGATE_POLICY_ENV lists names of variables, in capitals, digits and underscores, separated by commas, such as TEAM_KEY,LLM_*: entry 2 is none.',
  ],
  [
    'a reference that was not resolved',
    { TOLLGATE_CACHE_SECRET: '@Microsoft.KeyVault(SecretUri=https://x.vault.azure.net/secrets/HUSH)' },
    "TOLLGATE_CACHE_SECRET is a reference to Key Vault that was not resolved. Give the app's identity the role Key Vault Secrets User on the vault, see that the secret is there, have the references read again (docs/infra.md says by which command: a restart alone does not), and restart the app.",
  ],
  [
    'a typo of the key',
    { OPENAI_APIKEY: 'sk-HUSH' },
    'OPENAI_APIKEY is no setting. Did you mean OPENAI_API_KEY? Rename it, or unset it.',
  ],
  [
    'a typo of the address',
    { OPENAI_ENDPONT: 'https://x.openai.azure.com', OPENAI_API_KEY: 'k' },
    'OPENAI_ENDPONT is no setting. Did you mean OPENAI_ENDPOINT? Rename it, or unset it.',
  ],
  [
    'another program’s address',
    { OPENAI_API_BASE: 'https://llm.example/v1', OPENAI_API_KEY: 'k' },
    'OPENAI_API_BASE is no setting, so OPENAI_API_KEY would be sent to api.openai.com. Set OPENAI_ENDPOINT (Azure) or OPENAI_BASE_URL (any other server) to the address that is meant: OPENAI_BASE_URL=https://api.openai.com/v1 for OpenAI itself.',
  ],
  [
    'both addresses',
    { OPENAI_ENDPOINT: 'https://x.openai.azure.com', OPENAI_BASE_URL: 'https://y.example/v1' },
    'OPENAI_ENDPOINT (Azure) and OPENAI_BASE_URL (any other server) are both set. Unset the one that is not meant.',
  ],
  [
    'three at once',
    { TOLLGATE_POLCY: 'p', TOLLGATE_IDLE_MS: '2m', TOLLGATE_TARGET_HOSTS: '*' },
    "3 settings can't be used:\n- TOLLGATE_TARGET_HOSTS lists names of hosts, without protocol, port and path, separated by commas, such as llm.example.com,*.corp.example: entry 1 is none.\n- TOLLGATE_POLCY is no setting. Did you mean TOLLGATE_POLICY? Rename it, or unset it.\n- TOLLGATE_IDLE_MS must be a whole number from 100 to 220000, in milliseconds: digits alone, such as 120000.",
  ],
]

test.each(SETTINGS)('I6: settings with %s are refused', (_what, settings, sentence) => {
  const message = refusalOf(folderWith({ 'rules.yaml': '{}' }), settings)
  expect(message).toBe(sentence)
  expect(message).not.toContain('HUSH')
})

test('I6: all that is wrong is told at once', () => {
  const root = folderWith({ 'tollgate.policy.yaml': 'plan: {}\nstoreDown: ajar\n' })
  expect(refusalOf(root, { TOLLGATE_IDLE_MS: '2m', TOLLGATE_POLCY: 'p' })).toBe(
    [
      "3 settings can't be used:",
      '- tollgate.policy.yaml was refused:',
      '    - line 2, storeDown: must be closed or open, not "ajar".',
      "    - line 1, plan: unknown field. Did you mean 'plans'? The document takes plans, global, storeDown, unpriced, models, routes, identity, groups and usage.",
      '- TOLLGATE_POLCY is no setting. Did you mean TOLLGATE_POLICY? Rename it, or unset it.',
      '- TOLLGATE_IDLE_MS must be a whole number from 100 to 220000, in milliseconds: digits alone, such as 120000.',
    ].join('\n'),
  )
})

describe('I1: a file that would be passed over', () => {
  test.each([
    'tollgate.policy.yml',
    'tollgate.policy.json',
    'tollgate.policy.yaml.txt',
    'Tollgate.Policy.yaml',
    'tollgate-policy.yaml',
    'tollgate_policy.yaml',
    'tollgatepolicy.yaml',
    'tollgate.polciy.yaml',
    'tolgate.policy.yaml',
    'tollgate.policies.yaml',
    'tollgate.policy',
    '.tollgate.policy.yaml',
    'tollgate.yaml',
    'policy.yaml',
    'policy.yml',
    'policies.json',
    'tollgate.policy.prod.yaml',
    'tollgate.policy.yamls',
    'tollgate.policy.yalm',
    'tollgate.policy.toml',
    'tollgate.policy.yaml ',
  ])('is refused where there is no policy: %s', (name) => {
    const root = folderWith({ [name]: 'plans: {free: {limits: []}}' })
    expect(refusalOf(root)).toBe(
      refused(
        name,
        `it would not be read: the policy's name is tollgate.policy.yaml. Rename it, or set TOLLGATE_POLICY=${name}; if it is no policy, move it out of the app's folder.`,
      ),
    )
    expect(() => outlinePolicy({ root, path: undefined })).toThrow('it would not be read')
    expect([...read(root, { TOLLGATE_POLICY: name }).policy.plans.keys()]).toEqual(['free'])
  })

  test.each(['tollgate.policy.yml', 'TOLLGATE.POLICY.YAML', 'tollgate.policy.json'])(
    'is refused beside the policy, too: %s',
    (name) => {
      const root = folderWith({ 'tollgate.policy.yaml': '{}', [name]: '{}' })
      expect(refusalOf(root)).toBe(
        refused(
          name,
          'only tollgate.policy.yaml, beside it, is read. Remove the one that is not meant, or set TOLLGATE_POLICY to the one that is.',
        ),
      )
    },
  )

  test.each([
    'tollgate.policy.yaml.bak',
    'tollgate.policy.yaml~',
    'tollgate.policy.yaml.orig',
    'tollgate.policy.example',
    'tollgate.policy.example.yaml',
    'tollgate.policy.schema.json',
    'tollgate.policy.md',
    'policy.ts',
    'policy.bicep',
    'host.json',
    'package.json',
    'azure.yaml',
    'docker-compose.yml',
    'tollgate.log',
  ])('is let be where it can be meant for something else: %s', (name) => {
    expect(read(folderWith({ [name]: '{}' })).policySource.file).toBeUndefined()
  })

  test.each(['policy.yaml', 'tollgate.policy.prod.yaml', 'tollgate.yaml'])(
    'is let be beside the policy where its name is another: %s',
    (name) => {
      const root = folderWith({ 'tollgate.policy.yaml': '{}', [name]: 'nonsense' })
      expect(read(root).policySource.file).toBe('tollgate.policy.yaml')
    },
  )
})

describe('a policy that can’t be read', () => {
  test('is refused where it is a folder, a link to itself, or a link to nothing', () => {
    const [isFolder, isLoop, isDangling] = [folder(), folder(), folder()]
    mkdirSync(join(isFolder, 'tollgate.policy.yaml'))
    symlinkSync('tollgate.policy.yaml', join(isLoop, 'tollgate.policy.yaml'))
    symlinkSync('moved.yaml', join(isDangling, 'tollgate.policy.yaml'))
    expect([isFolder, isLoop, isDangling].map((root) => refusalOf(root))).toEqual([
      refused('tollgate.policy.yaml', 'it is a folder. Name the file in it by TOLLGATE_POLICY.'),
      refused('tollgate.policy.yaml', 'it is a link that leads back to itself. Put the file in its place.'),
      refused('tollgate.policy.yaml', 'it is a link to a file that does not exist. Put the file in its place.'),
    ])
  })

  test('is refused where it is no file that has an end', () => {
    expect(refusalOf(folder(), { TOLLGATE_POLICY: '/dev/zero' })).toBe(
      refused('/dev/zero', 'it is no regular file. Put the policy into a file.'),
    )
  })

  test('is read with a byte order mark, and with the line ends of Windows', () => {
    const root = folderWith({ 'tollgate.policy.yaml': '\uFEFFplans:\r\n  free:\r\n    limits: []\r\n' })
    expect([...read(root).policy.plans.keys()]).toEqual(['free'])
  })
})

describe('C4: a policy has bounds', () => {
  const plans = (count: number, plan = '{ limits: [ {requests: 10, per: 1m} ] }') =>
    `plans:\n${Array.from({ length: count }, (_, index) => `  p${index}: ${plan}\n`).join('')}`
  const timed = (work: () => unknown) => {
    const started = performance.now()
    const result = work()
    return [performance.now() - started, result] as const
  }
  /** Of 100,000 plans the library's own check for repeated names alone took minutes. */
  const SOON_MS = 20_000

  test('of 100,000 plans it is refused at once, by its size', () => {
    const root = folderWith({ 'tollgate.policy.yaml': plans(100_000) })
    const [ms, message] = timed(() => refusalOf(root))
    expect(message).toBe(
      refused('tollgate.policy.yaml', 'it is larger than 1,048,576 bytes. Give more consumers the same plan.'),
    )
    expect(ms).toBeLessThan(SOON_MS)
  })

  test('of more plans than there may be it says how many', () => {
    const root = folderWith({ 'tollgate.policy.yaml': plans(10_001, '{limits: []}') })
    expect(refusalOf(root)).toBe(
      refused('tollgate.policy.yaml', 'line 1, plans: has 10,001 entries, and may have 10,000. Remove some.'),
    )
  })

  test('with 10,000 plans it is taken, in time that grows with their number alone', () => {
    const root = folderWith({ 'tollgate.policy.yaml': plans(10_000) })
    const [ms, settings] = timed(() => read(root))
    expect((settings as ReturnType<typeof read>).policy.plans.size).toBe(10_000)
    expect(ms).toBeLessThan(SOON_MS)
  })

  test('with 150 plans of the same limits they may be written once', () => {
    const text = `plans:\n  first: &usual {limits: [{requests: 5, per: 1m}]}\n${plans(150, '*usual').slice('plans:\n'.length)}`
    expect(read(folderWith({ 'tollgate.policy.yaml': text })).policy.plans.size).toBe(151)
  })

  test('with 4,000 faulty plans it is told of the first, and how many more there are', () => {
    const root = folderWith({ 'tollgate.policy.yaml': plans(4_000, '{ limits: [ {requests: 0, per: 1m} ] }') })
    const message = refusalOf(root)
    expect(message).toMatch(
      /\n {2}- line 26, plans\.p24\.limits\[0\]\.requests: must be a whole number from 1 to 1,000,000,000, not 0\.\n {2}- and 3,975 more$/,
    )
    expect(message.length).toBeLessThan(5_000)
  })

  test('a secret in a wrong place is not repeated', () => {
    const misplaced = [
      'models: {m: {targets: [{openai: {model: m, key: {sk-proj-HUSH}}}]}}',
      'models: {m: {targets: [{openai: {model: m, key: {0123HUSH: x}}}]}}',
      'models: {m: {targets: [{openai: {model: m, api_key: HUSH}}]}}',
      'models: {m: {targets: [{openai: {model: m, baseUrl: "https://u:HUSH@llm.example"}}]}}',
      'models: {m: {targets: [{openai: {model: m, key: {env: sk-HUSH}}}]}}',
      'sk-proj-HUSH: 1',
      'OPENAI_API_KEY: HUSH',
      'plans: {free: {limits: [{requests: sk-HUSH, per: 1m}]}}',
      'plans: "sk-HUSH',
    ]
    for (const text of misplaced) expect(refusalOf(folderWith({ 'tollgate.policy.yaml': text }))).not.toContain('HUSH')
  })

  test('a long or odd name is not repeated whole', () => {
    const root = folderWith({ 'tollgate.policy.yaml': `${'x'.repeat(500_000)}: 1\n"\\e[31m": 2\n` })
    const message = refusalOf(root)
    expect(message.length).toBeLessThan(2_000)
    expect(message).not.toContain('\u001b')
  })
})

describe('I1: a misspelt setting', () => {
  test.each<[string, Record<string, string>]>([
    [
      'other programs’ and several keys',
      {
        OPENAI_ORG_ID: 'o',
        OPENAI_LOG: 'debug',
        OPENAI_API_TYPE: 'azure',
        OPENAI_API_KEYS: 'a,b',
        OPENAI_API_KEY_2: 'k',
        OPENAI_ENDPOINT_EU: 'https://x',
        OPENAI_ENDPOINT2: 'https://x',
        OPENAI_MODEL: 'gpt-5',
      },
    ],
    ['another program’s address without a key', { OPENAI_API_BASE: 'https://x.example' }],
    [
      'another program’s address beside ours',
      { OPENAI_API_BASE: 'https://x.example', OPENAI_API_KEY: 'k', OPENAI_BASE_URL: 'https://api.openai.com/v1' },
    ],
    [
      'what Kubernetes says of a service called tollgate',
      {
        TOLLGATE_SERVICE_HOST: '10.0.0.1',
        TOLLGATE_SERVICE_PORT_HTTP: '80',
        TOLLGATE_PORT: 'tcp://10.0.0.1:80',
        TOLLGATE_PORT_80_TCP_ADDR: '10.0.0.1',
        TOLLGATE_REDIS_PORT_6379_TCP: 'tcp://10.0.0.2:6379',
      },
    ],
    ['what tools read', Object.fromEntries(SETTING_NAMES.slice(-8).map((name) => [name, 'x']))],
    ['what a policy may read', { TOLLGATE_TEAM_KEY: 'k', TOLLGATE_POLICY_ENV: 'TOLLGATE_TEAM_KEY' }],
    ['what only holds our name', { npm_package_name: 'tollgate', PWD: '/tollgate', TOLL: '1' }],
  ])('is none of %s', (_what, env) => {
    expect(() => read(folder(), env)).not.toThrow()
  })

  test('is none where a policy reads it under that name', () => {
    const text = 'models: {m: {targets: [{openai: {model: m, key: {env: OPENAI_APIKEY}}}]}}'
    expect(() =>
      read(folderWith({ 'tollgate.policy.yaml': text }), { OPENAI_APIKEY: 'k', OPENAI_BASE_URL: 'http://127.0.0.1' }),
    ).not.toThrow()
  })

  test('is known from every setting that the code reads', () => {
    const sources = ['functions', 'packages', 'test/support', 'infra'].flatMap((under) =>
      readdirSync(join(ROOT, under), { recursive: true, encoding: 'utf8' })
        .map((file) => join(under, file))
        .filter(
          (file) => /\.(?:ts|mjs|bicepparam)$/.test(file) && !/node_modules|setting-names|\.test\.ts$/.test(file),
        ),
    )
    expect(sources.length).toBeGreaterThan(100)
    const names = sources.flatMap((file) => readFileSync(join(ROOT, file), 'utf8').match(/\bTOLLGATE_[A-Z]\w*/g) ?? [])
    expect([...new Set(names)].filter((name) => !SETTING_NAMES.includes(name))).toEqual([])
  })
})

describe('I1: the app’s first line', () => {
  const lineOf = async (text: string | undefined, env: Record<string, string> = {}) => {
    const root = text === undefined ? folder() : folderWith({ 'tollgate.policy.yaml': text })
    const lines: unknown[] = []
    const settings = read(root, { OPENAI_API_KEY: 'k', ...env })
    await policyOf(settings, (level, event, fields) => lines.push({ level, event, ...fields }))(memoryTable()).refresh()
    return lines
  }
  const PRICED = 'models: {default: {price: {input: 2, output: 8}}, odd: {targets: [{openai: {model: m}}]}}'

  test('warns of the defaults, which limit no money', async () => {
    expect(await lineOf(undefined)).toEqual([
      {
        level: 'warn',
        event: 'policy in force',
        policy: 'defaults',
        revision: expect.stringMatching(/^[0-9a-f]{12}$/),
        plans: ['default'],
        message:
          'The policy is the defaults, since there is no tollgate.policy.yaml. It has the plan default; NO LIMIT ON MONEY in any plan.',
      },
    ])
  })

  test('tells the document, its revision, its plans, and which of them have no limit on money', async () => {
    const limits = 'plans: {free: {limits: []}, pro: {limits: [{usd: 5, per: month}]}}'
    expect(await lineOf(`${limits}\n${PRICED}`)).toEqual([
      {
        level: 'warn',
        event: 'policy in force',
        policy: 'tollgate.policy.yaml',
        digest: expect.stringMatching(/^[0-9a-f]{12}$/),
        revision: expect.stringMatching(/^[0-9a-f]{12}$/),
        plans: ['free', 'pro'],
        message: expect.stringMatching(
          /^The policy is tollgate\.policy\.yaml \([0-9a-f]{12}\)\. It has the plans free and pro; no limit on money in plan: free; where money is limited, requests for 'odd' are refused, for want of a price\.$/,
        ),
      },
    ])
  })

  test.each([
    ['each plan', 'plans: {a: {limits: [{usd: 5, per: day}]}}'],
    ['a plan’s consumers together', 'plans: {a: {limits: [], shared: {limits: [{usd: 5, per: day}]}}}'],
    ['all together', 'plans: {a: {limits: []}}\nglobal: {limits: [{usd: 5, per: day}]}'],
  ])('says that money is limited where it is for %s', async (_what, plans) => {
    const [line] = await lineOf(`${plans}\nmodels: {default: {price: {input: 2, output: 8}}}`)
    expect(line).toMatchObject({ level: 'info', message: expect.stringMatching(/; money is limited in each plan\.$/) })
  })

  test('says that a limit on one model leaves the others without', async () => {
    const [line] = await lineOf(`plans: {a: {limits: [{usd: 5, per: day, model: default}]}}\n${PRICED}`)
    expect(line).toMatchObject({ message: expect.stringContaining('NO LIMIT ON MONEY in any plan') })
  })

  test('tells of what is not read and may have been meant', async () => {
    expect(await lineOf('plans: {a: {limits: []}}', { OPENAI_MODEL: 'gpt-5' })).toMatchObject([
      { level: 'warn', hints: ['OPENAI_MODEL is not read: the setting is OPENAI_MODEL_NAME.'] },
    ])
  })

  test('tells models of several targets, names that pick others, and zones', async () => {
    const models =
      'models: {chat: {targets: [{openai: {model: a}, zone: eu}, {openai: {model: b}}]}, gpt: {alias: chat}, ' +
      'ab: {split: {chat: 90, default: 10}}, auto: {route: {small: chat, large: ab, rules: [{tools: true}]}}}'
    const [line] = await lineOf(`plans: {a: {limits: []}, team: {limits: [], zones: [eu]}}\n${models}`)
    expect(line).toMatchObject({
      message: expect.stringMatching(
        /; NO LIMIT ON MONEY in any plan\. Requests: chat has 2 targets \(eu, 1 in no zone\); gpt is an alias of chat, ab is a split of chat \(90\) and default \(10\) by consumer and auto is a route to chat or ab; plan team stays in eu\.$/,
      ),
    })
  })

  test('is bounded', async () => {
    const plans = Array.from({ length: 5_000 }, (_, index) => `p${index}: {limits: []}`).join(', ')
    expect(JSON.stringify(lineOf(`plans: {${plans}}`)).length).toBeLessThan(1_000)
    const split = `split: {${Array.from({ length: 16 }, (_, index) => `m${index}: 1`)}}`
    const models = Array.from({ length: 100 }, (_, index) => [
      `m${index}: {targets: [{openai: {model: m}, zone: eu}, {openai: {model: n}}]}`,
      `v${index}: {${split}}`,
    ])
    const zoned = `plans: {${plans.replaceAll('limits: []', 'limits: [], zones: [eu]')}}\nmodels: {${models}}`
    expect(JSON.stringify(lineOf(zoned)).length).toBeLessThan(3_000)
  })
})

describe('I3: a limit in dollars', () => {
  const limited = (models: string, limit = '{usd: 5, per: month}') =>
    folderWith({ 'tollgate.policy.yaml': `plans: {free: {limits: [${limit}]}}\n${models}` })

  test.each([
    ['the model of the settings', '', 'models.default.price'],
    ['the policy’s own', 'models: {own: {targets: [{openai: {model: m}}]}}', 'models.own.price'],
  ])('is refused where no model has a price: %s', (_what, models, fix) => {
    expect(refusalOf(limited(models))).toContain(`Write ${fix}, such as`)
  })

  test('is refused of a plan’s consumers together, and of all', () => {
    const shared = 'plans: {free: {limits: [], shared: {limits: [{usd: 5, per: month}]}}}'
    const global = 'global: {limits: [{concurrent: 5}, {usd: 5, per: month}]}'
    expect(refusalOf(folderWith({ 'tollgate.policy.yaml': shared }))).toContain(
      'plans.free.shared.limits[0]: a limit in',
    )
    expect(refusalOf(folderWith({ 'tollgate.policy.yaml': global }))).toContain('global.limits[1]: a limit in dollars')
  })

  test('is taken where one model has a price, or all have the worst', () => {
    const models = 'models: {own: {targets: [{openai: {model: m}}], price: {input: 1, output: 2}}}'
    expect(() => read(limited(models))).not.toThrow()
    expect(() => read(limited(`unpriced: worst\n${models}`, '{usd: 5, per: month, model: default}'))).not.toThrow()
    expect(() => read(limited('models: {default: {price: {input: 0, output: 0}}}'))).not.toThrow()
  })
})
