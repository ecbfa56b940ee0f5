import { type ParseArgsOptionsConfig, parseArgs } from 'node:util'

/**
 * The options of a command of this repository. For one that it does not take, and for `--help`, it says which it takes, and
 * ends the process.
 *
 * @param command how a person runs it: `npm run simulate`
 */
export function commandOptions<T extends ParseArgsOptionsConfig>(command: string, options: T) {
  const taken = Object.entries(options).map(([name, { type }]) => (type === 'string' ? `--${name} <…>` : `--${name}`))
  const usage = `${command} -- takes ${taken.join(', ')}.`
  if (process.argv.slice(2).some((word) => word === '--help' || word === '-h')) {
    console.log(usage)
    process.exit(0)
  }
  try {
    return parseArgs({ options }).values
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    if (!code?.startsWith('ERR_PARSE_ARGS')) throw error
    const [first = ''] = message.split(/\.\s|\n/)
    console.error(`${first}. ${usage}`)
    process.exit(1)
  }
}

/** The whole number that an option says; ends the process where it says none. */
export function wholeOption(name: string, text: string): number {
  if (/^\d{1,15}$/.test(text)) return Number(text)
  console.error(`--${name} must be a whole number, such as 1000.`)
  process.exit(1)
}
