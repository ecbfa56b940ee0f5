import { existsSync } from 'node:fs'
import { isAbsolute, resolve } from 'node:path'
import {
  applyPolicy,
  diffPolicy,
  endPolicyShadow,
  listPolicyRevisions,
  type ManageOutput,
  POLICY_FILE,
  PolicyError,
  type PolicyText,
  readPolicyFile,
  rollbackPolicy,
  showPolicy,
  validatePolicy,
} from '@tollgate/middleware'
import { columns } from './columns.ts'
import { CommandFault } from './command-fault.ts'
import { gatewayOf } from './manage-client.ts'
import { managing } from './managing.ts'
import type { Place } from './place.ts'
import { onOneLine } from './printable.ts'

/* The policy in force: other revisions of it, in its place or beside it. */

const SEEN_BY = 'Every instance goes by it within 5 seconds.'

/** The file that a command names, or the app's own. @throws PolicyError, CommandFault where there is none */
function textOf(file: string | undefined, { root, env }: Place): PolicyText {
  // npm runs its scripts in the app's folder.
  const path = file === undefined || isAbsolute(file) ? file : resolve(env.INIT_CWD ?? process.cwd(), file)
  if (path !== undefined && !existsSync(path)) {
    throw new CommandFault(`${file}: the file does not exist. Correct its name; without one the app's own is meant.`)
  }
  const found = readPolicyFile({ root, path: path ?? (env.TOLLGATE_POLICY || undefined) })
  if (found !== undefined) return { text: found.text, source: shortSource(file ?? found.source) }
  throw new CommandFault(`There is no ${POLICY_FILE} here. Name the file.`)
}

/** The longest that the history takes. */
const LONGEST_SOURCE = 200

/** Of a long path its end, which tells files apart. */
function shortSource(source: string): string {
  return source.length <= LONGEST_SOURCE ? source : `…${source.slice(1 - LONGEST_SOURCE)}`
}

/** Whether a file can be used, as far as can be told without the app's settings. @throws PolicyError, CommandFault */
export async function validatePolicyOf(file: string | undefined, place: Place): Promise<string> {
  const { text, source } = textOf(file, place)
  const { output } = await managing(validatePolicy, { text, source }, place)
  if (!output.valid) throw new PolicyError(source, output.faults)
  if (gatewayOf(place) !== undefined) return `${source} can be used, by the app's own settings too.`
  return `${source} can be used, as far as it says itself: the app's own settings (variables, hosts) are looked at where it is applied.`
}

export interface DiffOptions {
  readonly revision?: string
  readonly json?: boolean
}

/** What a file would change. */
export async function diffPolicyOf(file: string | undefined, options: DiffOptions, place: Place): Promise<string> {
  const proposed = textOf(file, place)
  const { output } = await managing(diffPolicy, { ...proposed, ...numbered(options.revision) }, place)
  return options.json ? JSON.stringify(output) : diffText(output, proposed.source ?? '')
}

type Diff = ManageOutput<typeof diffPolicy>

function diffText({ against, changes }: Diff, source: string): string {
  const other = against === null ? 'the defaults, since no revision was applied yet' : `revision ${against.number}`
  if (changes.length === 0) return `${source} says the same as ${other}.`
  return [`${source}, held against ${other}:`, ...changes.map(changeText)].join('\n')
}

function changeText({ path, before, after, line, effect }: Diff['changes'][number]): string {
  const place = line === null ? '' : ` (line ${line}${after === null ? ' of what is in force' : ''})`
  const said =
    before === null
      ? `+ ${onOneLine(path)}: ${onOneLine(after ?? '')}`
      : after === null
        ? `- ${onOneLine(path)}: ${onOneLine(before)}`
        : `~ ${onOneLine(path)}: ${onOneLine(before)} → ${onOneLine(after)}`
  return `${said}${place}${effect === null ? '' : `\n    ${effect}`}`
}

export interface ApplyOptions {
  readonly shadow?: boolean
  readonly message?: string
  /** The revision that is to be in force still. */
  readonly expected?: string
}

/** Puts a file in force, or beside what is. */
export async function applyPolicyOf(file: string | undefined, options: ApplyOptions, place: Place): Promise<string> {
  const proposed = textOf(file, place)
  const { shadow, message } = options
  const { output, storage } = await managing(
    applyPolicy,
    {
      ...proposed,
      ...(shadow ? { shadow } : {}),
      ...(message === undefined ? {} : { message }),
      ...expecting(options.expected),
    },
    place,
  )
  const { revision, changed } = output
  const where = `Storage: ${storage}`
  if (!changed) {
    const what = shadow ? 'judged' : 'in force'
    return `${proposed.source} is ${what} already, as revision ${revision.number}. Nothing was changed.\n\n${where}`
  }
  const what = shadow
    ? `${proposed.source} is judged beside what is in force, as revision ${revision.number}, and refuses nothing. What it would refuse: usage --shadow. To end it: policy end-shadow.`
    : `${proposed.source} is in force, as revision ${revision.number}.`
  return `${what} ${SEEN_BY} One that can't use it keeps the one before: policy show says so.\n\n${where}`
}

export interface ShowOptions {
  readonly revision?: string
  readonly json?: boolean
}

/** The text of a revision, and where it came from. */
export async function showPolicyOf(options: ShowOptions, place: Place): Promise<string> {
  const { output, storage } = await managing(showPolicy, numbered(options.revision), place)
  if (options.json) return JSON.stringify(output)
  const { revision, text, inForce, shadow, refused } = output
  if (revision === null || text === null) {
    return [
      'No revision was applied yet: the app goes by its file, or by the defaults where there is none.',
      ...(shadow === null ? [] : [shadowText(shadow)]),
      `Storage: ${storage}`,
    ].join('\n\n')
  }
  return [
    `# revision ${revision.number}${inForce ? ', in force' : ''}: ${originText(revision)}`,
    ...(shadow === null || shadow.number === revision.number ? [] : [`# ${shadowText(shadow)}`]),
    ...(refused === null
      ? []
      : [`# REFUSED by an instance, which goes by the revision before:\n${commented(refused)}`]),
    `# storage: ${storage}`,
    '',
    text.trimEnd(),
  ].join('\n')
}

type Shown = NonNullable<ManageOutput<typeof showPolicy>['revision']>

function originText({ at, by, from, source, message }: Shown): string {
  const of = from === 'rollback' ? `${source} again` : source
  return onOneLine(`${of}, applied ${at} by ${by}${message === null ? '' : ` (${message})`}`)
}

function shadowText(shadow: Shown): string {
  return `Revision ${shadow.number} is judged beside it, and refuses nothing: ${originText(shadow)}`
}

function commented(text: string): string {
  return text.replace(/^/gm, '#   ')
}

/** All revisions, the newest first. */
export async function policyHistory(options: { readonly json?: boolean }, place: Place): Promise<string> {
  const { output, storage } = await managing(listPolicyRevisions, {}, place)
  if (options.json) return JSON.stringify(output)
  const { revisions, inForce, judged } = output
  if (revisions.length === 0) return `No revision was applied yet.\n\nStorage: ${storage}`
  const state = (each: Shown) =>
    each.number === inForce ? 'in force' : each.number === judged ? 'judged' : each.shadow ? 'was judged' : ''
  const table = columns([
    ['REVISION', '', 'APPLIED', 'BY', 'FROM', 'DIGEST', 'MESSAGE'],
    ...revisions.map((each) => [
      String(each.number),
      state(each),
      each.at,
      onOneLine(each.by),
      onOneLine(each.from === 'rollback' ? `${each.source}, again` : each.source),
      each.digest.slice(0, 12),
      onOneLine(each.message ?? ''),
    ]),
  ])
  return `${table}\n\nStorage: ${storage}`
}

export interface RollbackOptions {
  readonly message?: string
  readonly expected?: string
}

/** Puts an earlier revision in force again. */
export async function rollbackPolicyTo(
  revision: string | undefined,
  options: RollbackOptions,
  place: Place,
): Promise<string> {
  const { message, expected } = options
  const { output, storage } = await managing(
    rollbackPolicy,
    { ...numbered(revision, '<revision>'), ...(message === undefined ? {} : { message }), ...expecting(expected) },
    place,
  )
  const { revision: applied, changed } = output
  const what = changed
    ? `What ${applied.source} said is in force again, as revision ${applied.number}. ${SEEN_BY}`
    : `Revision ${applied.number} says that already. Nothing was changed.`
  return `${what}\n\nStorage: ${storage}`
}

/** Judges no second revision any more. */
export async function endShadow(place: Place): Promise<string> {
  const { output } = await managing(endPolicyShadow, {}, place)
  return `Revision ${output.ended.number} is judged no more. ${SEEN_BY}`
}

function numbered(text: string | undefined, option = '--revision'): { readonly revision?: number } {
  if (text === undefined) return {}
  return { revision: wholeNumber(text, option, 1) }
}

function expecting(text: string | undefined): { readonly expected?: number } {
  return text === undefined ? {} : { expected: wholeNumber(text, '--expected', 0) }
}

function wholeNumber(text: string, option: string, least: number): number {
  if (/^\d{1,10}$/.test(text) && Number(text) >= least) return Number(text)
  throw new CommandFault(`${option}: '${text}' is no revision's number. See: policy history`)
}
