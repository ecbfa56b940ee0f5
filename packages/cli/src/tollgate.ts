import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { applyLocalSettings } from '@tollgate/local-host'
import { Command } from 'commander'
import { type KeysCreateOptions, keysCreate } from './keys-create.ts'

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '../../..')

const program = new Command('tollgate').description('Manages a Tollgate: the gateway inside your Function app.')

program
  .command('keys')
  .description('API keys of consumers')
  .command('create')
  .description('Make a key, and its consumer if that is new. The key is shown once.')
  .requiredOption('--consumer <id>', 'whose key it is')
  .option('--plan <plan>', "the consumer's plan, if the consumer is new")
  .option('--json', 'print one line of JSON')
  .action(async (options: KeysCreateOptions) => console.log(await keysCreate(options, ROOT, process.env)))

try {
  applyLocalSettings(ROOT, process.env)
  await program.parseAsync()
} catch (error) {
  console.error(explain(error as Error))
  process.exitCode = 1
}

function explain(error: Error & { operatorMessage?: string; statusCode?: number }): string {
  if (error.operatorMessage !== undefined) return error.operatorMessage
  // An answer of the storage service; its text repeats names, never secrets.
  if (error.statusCode !== undefined)
    return `The storage could not be used (HTTP ${error.statusCode}): ${error.message}`
  return error.stack ?? error.message
}
