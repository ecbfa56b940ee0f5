import { Cron } from 'croner'
import type { RegisteredFunction, WorkerLog } from '../worker/functions-core.ts'
import { invoke } from '../worker/invoke.ts'
import type { FunctionApp } from '../worker/load-app.ts'

/** A function that time triggers. */
export interface TimerTrigger {
  readonly name: string
  readonly registered: RegisteredFunction
  /** As registered: an NCRONTAB expression, a TimeSpan, or `%SETTING%` for either. */
  readonly schedule: string
  readonly runOnStartup: boolean
}

export interface RunningTimers {
  /** Runs one now, in addition to its schedule; resolves when it has ended. `undefined` for an unknown name. */
  run(name: string): Promise<void> | undefined
  /** No more runs; resolves when those under way have ended. */
  stop(): Promise<void>
}

/** The longest that a timer of Node's can wait, in milliseconds. */
const MAX_WAIT_MS = 2 ** 31 - 1

/**
 * Starts the timers. Schedules are in UTC, as in the cloud. A run that is due while the last one is still under way is
 * left out. Nothing is remembered over restarts, so no run is ever past due.
 *
 * @throws for a schedule that can't be read, naming the function.
 */
export function startTimers(
  app: FunctionApp,
  triggers: readonly TimerTrigger[],
  env: NodeJS.ProcessEnv,
  log: WorkerLog,
): RunningTimers {
  const schedules = new Map(triggers.map((trigger) => [trigger, scheduleOf(trigger, env)]))
  const underWay = new Map<Promise<void>, TimerTrigger>()
  const waiting = new Set<NodeJS.Timeout>()
  let last = new Map<TimerTrigger, Date>()

  function run(trigger: TimerTrigger): Promise<void> {
    const started = new Date()
    const data = { json: JSON.stringify(timerInfo(last.get(trigger), started, schedules.get(trigger)?.(started))) }
    last = new Map(last).set(trigger, started)
    const ended = invoke(app, trigger.registered, { data }, log).then(
      () => {},
      (error: unknown) => log('error', `Function.${trigger.name}`, String((error as Error)?.stack ?? error)),
    )
    underWay.set(ended, trigger)
    void ended.then(() => underWay.delete(ended))
    return ended
  }

  function wait(trigger: TimerTrigger, due: Date): void {
    const left = due.getTime() - Date.now()
    const timer = setTimeout(
      () => {
        waiting.delete(timer)
        if (left > MAX_WAIT_MS) return wait(trigger, due)
        if (![...underWay.values()].includes(trigger)) void run(trigger)
        waitForNext(trigger, due)
      },
      Math.min(Math.max(left, 0), MAX_WAIT_MS),
    )
    waiting.add(timer)
  }

  /** Counted from the moment that was due, so that a timer that fires early doesn't fire twice; what was slept through is left out. */
  function waitForNext(trigger: TimerTrigger, due: Date): void {
    const next = schedules.get(trigger)?.(new Date(Math.max(due.getTime(), Date.now())))
    if (next !== undefined) wait(trigger, next)
  }

  for (const trigger of triggers) {
    if (trigger.runOnStartup) void run(trigger)
    waitForNext(trigger, new Date())
  }
  return {
    run: (name) => {
      const trigger = triggers.find((known) => known.name.toLowerCase() === name.toLowerCase())
      return trigger && run(trigger)
    },
    stop: async () => {
      for (const timer of waiting) clearTimeout(timer)
      await Promise.all(underWay.keys())
    },
  }
}

/** The next moment after the given one; `undefined` when there is none. */
type Schedule = (after: Date) => Date | undefined

function scheduleOf({ name, schedule }: TimerTrigger, env: NodeJS.ProcessEnv): Schedule {
  const setting = /^%(.+)%$/.exec(schedule)?.[1]
  const text = setting === undefined ? schedule : env[setting]
  if (text === undefined) throw new Error(`${name}: its schedule is the setting ${setting}, which is not set.`)
  const every = timeSpanMs(text)
  if (every !== undefined) return (after) => new Date(after.getTime() + every)
  try {
    // Where both days are given, both must fit, as NCRONTAB has it.
    const cron = new Cron(text, { utcOffset: 0, mode: '5-or-6-parts', domAndDow: true, paused: true })
    return (after) => cron.nextRun(after) ?? undefined
  } catch (error) {
    throw new Error(`${name}: the schedule '${text}' is neither NCRONTAB nor hh:mm:ss. ${(error as Error).message}`)
  }
}

/** `[d.]hh:mm:ss`, where a first part over 23 counts days, as .NET reads it. */
function timeSpanMs(text: string): number | undefined {
  const [, days, hours, minutes, seconds] = /^(?:(\d+)\.)?(\d+):([0-5]?\d):([0-5]?\d)$/.exec(text.trim()) ?? []
  if (hours === undefined) return undefined
  const overflows = days === undefined && Number(hours) > 23
  const wholeDays = overflows ? Number(hours) : Number(days ?? 0)
  const rest = overflows
    ? Number(minutes) * 3600 + Number(seconds) * 60
    : Number(hours) * 3600 + Number(minutes) * 60 + Number(seconds)
  const total = (wholeDays * 86_400 + rest) * 1000
  return total > 0 ? total : undefined
}

/** What a timer's function is given, in the host's own spelling. */
function timerInfo(last: Date | undefined, now: Date, next: Date | undefined): object {
  const status = { Last: last ?? new Date(0), LastUpdated: last ?? now, Next: next ?? new Date(0) }
  return { Schedule: { AdjustForDST: false }, ScheduleStatus: status, IsPastDue: false }
}
