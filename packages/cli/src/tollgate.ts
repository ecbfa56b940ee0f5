import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { applyLocalSettings } from '@tollgate/local-host'
import { IssueKeyError } from '@tollgate/middleware'
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
  const { operatorMessage, statusCode } = error as { operatorMessage?: string; statusCode?: number }
  if (operatorMessage !== undefined) console.error(operatorMessage)
  else if (error instanceof IssueKeyError) console.error(error.message)
  else
    console.error(
      `The storage could not be used${statusCode === undefined ? '' : ` (HTTP ${statusCode})`}: ${(error as Error).message}`,
    )
  process.exitCode = 1
}
