import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { applyLocalSettings, faultText } from '@tollgate/local-host'
import { Command } from 'commander'
import { showAudit } from './audit.ts'
import { purgeCache } from './cache.ts'
import { CommandFault } from './command-fault.ts'
import { forgetUsageOf, listConsumers, setConsumer, showConsumer } from './consumers.ts'
import { createKey, expireKey, findKey, listKeys, revokeKey, rotateKey, setKeyDisabled, showKey } from './keys.ts'
import { resetLimitsOf, showLimitsOf } from './limits.ts'
import {
  applyPolicyOf,
  diffPolicyOf,
  endShadow,
  policyHistory,
  rollbackPolicyTo,
  showPolicyOf,
  validatePolicyOf,
} from './policy.ts'
import { showPrices } from './prices.ts'
import { printable } from './printable.ts'
import { readingAll } from './read-request.ts'
import { explainRouteOf } from './route-explain.ts'
import { showTargets } from './targets.ts'
import { showUsage } from './usage.ts'
import { showWhy } from './why.ts'

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '../../..')

const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string }
const program = new Command('tollgate')
  .description('Manages a Tollgate: the gateway inside your Function app.')
  .version(version)
  .option(
    '--url <url>',
    'a gateway to manage instead of the tables, such as https://app.azurewebsites.net/api, with the key in TOLLGATE_KEY (TOLLGATE_URL)',
  )
  .configureOutput({ writeErr: (text) => process.stderr.write(printable(text)) })

const place = {
  root: ROOT,
  env: process.env,
  get url() {
    return program.opts<{ readonly url?: string }>().url
  },
}
const print = async (text: Promise<string>) => console.log(printable(await text))
const JSON_OPTION = ['--json', 'print one line of JSON'] as const
const repeated = (value: string, before: readonly string[] = []) => [...before, value]
const KEY = ['<key>', "the key's id, or the key itself"] as const

const keys = program.command('keys').description('API keys of consumers')
keys
  .command('create')
  .description('Make a key, and its consumer if that is new. The key is shown once.')
  .requiredOption('--consumer <id>', 'whose key it is')
  .option('--plan <plan>', "the consumer's plan, if the consumer is new")
  .option(
    '--scope <scope>',
    'call: asks models, the default; read: sees usage and metrics, of all consumers; admin: manages; may be given several times',
    repeated,
  )
  .option('--expires <when>', 'a span such as 90d, or a date; without, never')
  .option(
    '--model <name>',
    'of what its plan allows, only this model; may be given several times, as the next two',
    repeated,
  )
  .option('--zone <zone>', 'only targets in this zone', repeated)
  .option('--route <route>', 'only this route, such as chat', repeated)
  .option('--usd <amount>', 'the most that this key may spend by itself, over --per')
  .option('--per <window>', 'minute, hour, day or month')
  .option(
    '--group <name=value>',
    "a group of the policy's that its requests are in; may be given several times",
    repeated,
  )
  .option(...JSON_OPTION)
  .action((options) => print(createKey(options, place)))
keys
  .command('list')
  .description('All keys, by id; none is shown itself.')
  .option('--consumer <id>', 'of this consumer alone')
  .option(...JSON_OPTION)
  .action((options) => print(listKeys(options, place)))
keys
  .command('show')
  .description('A key, by its id; it is not shown itself.')
  .argument(...KEY)
  .option(...JSON_OPTION)
  .action((key, options) => print(showKey(key, options, place)))
keys
  .command('find')
  .description('Whose key this is that was found somewhere, and what to do. It is not shown again.')
  .argument('<key>', 'the key, or how it begins: tg_4fK2')
  .option(...JSON_OPTION)
  .action((key, options) => print(findKey(key, options, place)))
keys
  .command('rotate')
  .description(
    'Make a key of the same rights in the place of another, which still works for a while. The new one is shown once.',
  )
  .argument(...KEY)
  .option('--grace <span>', 'how long the old one works, such as 12h; 0 for no longer', '7d')
  .option('--expires <when>', "of the new one: a span such as 90d, or a date; without, the old one's own")
  .option(...JSON_OPTION)
  .action((key, options) => print(rotateKey(key, options, place)))
keys
  .command('revoke')
  .description('Remove a key for good.')
  .argument(...KEY)
  .action((key) => print(revokeKey(key, place)))
keys
  .command('disable')
  .description('Refuse a key until it is enabled again.')
  .argument(...KEY)
  .action((key) => print(setKeyDisabled(key, true, place)))
keys
  .command('enable')
  .description('Let a disabled key in again.')
  .argument(...KEY)
  .action((key) => print(setKeyDisabled(key, false, place)))
keys
  .command('expire')
  .description('Let a key end, now or later.')
  .argument(...KEY)
  .option('--at <when>', 'now, a span such as 30d, or a date', 'now')
  .action((key, options) => print(expireKey(key, options, place)))

const consumers = program.command('consumers').description('Who calls: each with a plan, and keys')
consumers
  .command('list')
  .description('All consumers.')
  .option(...JSON_OPTION)
  .action((options) => print(listConsumers(options, place)))
consumers
  .command('show')
  .description('A consumer and its keys.')
  .argument('<consumer>')
  .option(...JSON_OPTION)
  .action((id, options) => print(showConsumer(id, options, place)))
consumers
  .command('set')
  .description("Change a consumer's plan, or shut all its keys out.")
  .argument('<consumer>')
  .option('--plan <plan>', 'the plan to move to')
  .option('--disable', 'refuse all its keys')
  .option('--enable', 'let them in again')
  .action((id, options) => print(setConsumer(id, options, place)))

consumers
  .command('forget')
  .description('Remove what the ledger of usage keeps of a consumer: its requests, and its name in all figures.')
  .argument('<consumer>')
  .option('--yes', "don't ask")
  .action((id, options) => print(forgetUsageOf(id, options, place)))

const cache = program.command('cache').description('Completions that are stored to answer again')
cache
  .command('purge')
  .description(
    "Serve nothing more of what is stored by now, of one kind. --consumer means that consumer's own completions: " +
      'those that a route shares by plan or with everybody go by --plan, --route or --all.',
  )
  .option('--consumer <id>', 'stored for this consumer alone')
  .option('--plan <plan>', 'shared by the consumers of this plan')
  .option('--route <route>', "of this route, such as generate, whoever's they are")
  .option('--all', 'everything')
  .action((options) => print(purgeCache(options, place)))

program
  .command('prices')
  .description("What the policy's models cost, by whose word, and how old that is.")
  .option('--book [pattern]', "instead, the names that a price's 'like' takes: all, or those with this in them")
  .option(...JSON_OPTION)
  .action((options) => print(showPrices(options, place)))

const FILE = ['[file]', "the policy's document; without, the app's own"] as const
const EXPECTED = ['--expected <revision>', 'change nothing where another revision is in force by now'] as const
const MESSAGE = ['--message <text>', 'why, for the history'] as const

const policy = program.command('policy').description('The policy in force, changed without a restart')
policy
  .command('validate')
  .description('Say what is wrong with a document: line, path and fix. Changes nothing.')
  .argument(...FILE)
  .action((file) => print(validatePolicyOf(file, place)))
policy
  .command('diff')
  .description('Show what a document would change, and what becomes of what was counted. Changes nothing.')
  .argument(...FILE)
  .option('--revision <number>', 'held against this revision, and not the one in force')
  .option(...JSON_OPTION)
  .action((file, options) => print(diffPolicyOf(file, options, place)))
policy
  .command('apply')
  .description('Put a document in force on every instance, within 5 seconds.')
  .argument(...FILE)
  .option('--shadow', 'judge it on live traffic beside the one in force, and refuse nothing by it')
  .option(...MESSAGE)
  .option(...EXPECTED)
  .action((file, options) => print(applyPolicyOf(file, options, place)))
policy
  .command('show')
  .description('Print the policy in force, who applied it, and whether an instance refuses it.')
  .option('--revision <number>', 'this revision instead')
  .option(...JSON_OPTION)
  .action((options) => print(showPolicyOf(options, place)))
policy
  .command('history')
  .description('All revisions, the newest first.')
  .option(...JSON_OPTION)
  .action((options) => print(policyHistory(options, place)))
policy
  .command('rollback')
  .description('Put an earlier revision in force again, as a new one.')
  .argument('[revision]', 'its number; without, the one before the one in force')
  .option(...MESSAGE)
  .option(...EXPECTED)
  .action((revision, options) => print(rollbackPolicyTo(revision, options, place)))
policy
  .command('end-shadow')
  .description('Judge no second revision any more.')
  .action(() => print(endShadow(place)))

const limits = program.command('limits').description('What is counted against the limits of the policy')
limits
  .command('show')
  .description('Where limits stand: what is used, held by instances, and left, and when it comes back.')
  .option('--consumer <id>', 'all that hold for this consumer, those that it shares with others too')
  .option('--key <id>', "the same of this key's requests, with its own cap and its groups")
  .option('--plan <plan>', 'those that the consumers of this plan share')
  .option('--group <name=value>', 'those that all callers of this value of a group share')
  .option('--global', "everybody's")
  .option(...JSON_OPTION)
  .action((options) => print(showLimitsOf(options, place)))
limits
  .command('reset')
  .description('Let limits begin anew: buckets full, quotas and budgets unspent. What is in flight is not ended.')
  .option('--consumer <id>', "this consumer's own limits")
  .option('--key <key>', 'what this key may spend by itself: its id, or the key itself')
  .option('--plan <plan>', 'those that the consumers of this plan share')
  .option('--group <name=value>', 'those that all callers of this value of a group share, such as cost-centre=4711')
  .option('--global', "everybody's")
  .option('--limit <name>', 'of them this one alone, by its name in refusals, such as usd')
  .action((options) => print(resetLimitsOf(options, place)))

const routes = program.command('route').description('Which model and which targets serve a request')
routes
  .command('explain')
  .description(
    'Show why a request would go where it would go. Nothing is asked; the body comes from --file or standard input.',
  )
  .option('--file <path>', "the request's JSON, as a client would send it")
  .option('--model <name>', "the name to ask for, in the place of the body's own")
  .option('--consumer <id>', 'who asks: its plan holds, and a split keeps it on its part')
  .option('--plan <plan>', 'the plan that holds; without, that of --consumer, or the default one')
  .option('--key <key>', 'in their place: who asks by this key, and what that narrows; its id, or the key itself')
  .option('--surface <name>', 'chat, generate, responses or embeddings; without, as the body looks')
  .option('--header <name:value>', 'a header of the request; may be given several times', repeated)
  .option(...JSON_OPTION)
  .action((options) => print(explainRouteOf(options, place, readingAll(process.stdin))))

const SINCE = ['--since <when>', 'a span back from now such as 12h or 7d, or a date in UTC'] as const
const UNTIL = ['--until <when>', 'the same; now, without'] as const

program
  .command('usage')
  .description('What requests came to: who asked how much, what it cost, and what the cache saved.')
  .option('--by <dimension>', 'consumer, model or target', 'consumer')
  .option(...SINCE, '7d')
  .option(...UNTIL)
  .option('--consumer <id>', 'of this consumer alone')
  .option('--model <name>', 'of this model of the policy alone')
  .option(...JSON_OPTION)
  .option('--csv', 'print CSV, for a spreadsheet')
  .option('--shadow', 'what the shadow revision of the policy would have refused')
  .action((options) => print(showUsage(options, place)))

program
  .command('targets')
  .description('The targets of the policy in force, what they cost, and which of them an instance does not ask now.')
  .option(...JSON_OPTION)
  .action((options) => print(showTargets(options, place)))

program
  .command('audit')
  .description('Who changed what, the newest first.')
  .option(...SINCE)
  .option(...UNTIL)
  .option('--limit <count>', 'the most that are listed', '100')
  .option('--cursor <cursor>', 'of an answer before: what follows it')
  .option(...JSON_OPTION)
  .action((options) => print(showAudit(options, place)))

program
  .command('why')
  .description("A request's whole story: its key, limits, route, cache, calls and cost, and why it was refused.")
  .argument('<request-id>', 'as X-Request-ID of its answer says')
  .option(...SINCE, '1d')
  .option(...UNTIL)
  .option(...JSON_OPTION)
  .action((id, options) => print(showWhy(id, options, place)))

program
  .command('doctor')
  .description(
    'Look at all that requests need: settings, storage, clock, policy, models, keys. Says what is wrong, and its fix.',
  )
  .option('--settings <file>', "a deployed app's settings: az functionapp config appsettings list -g <group> -n <app>")
  .option('--no-model', 'ask no model; without, each target is asked for one real answer of a few tokens')
  .option(...JSON_OPTION)
  .action(async (options) => {
    const { diagnose } = await import('./doctor.ts')
    const { text, isWell } = await diagnose(options, place)
    console.log(text)
    if (!isWell) process.exitCode = 1
    // Connections that were kept open must not keep the command.
    setTimeout(() => process.exit(), 200).unref()
  })

/** They work on files, and look into the tables by themselves. */
const WITHOUT_GATEWAY = ['prices', 'explain', 'doctor']

program.hook('preAction', (_program, command) => {
  if (place.url === undefined || !WITHOUT_GATEWAY.includes(command.name())) return
  throw new CommandFault(`--url: '${command.name()}' asks no gateway. Leave it out.`)
})

try {
  applyLocalSettings(ROOT, process.env)
  await program.parseAsync()
} catch (error) {
  console.error(printable(faultText(error)))
  process.exitCode = 1
}
