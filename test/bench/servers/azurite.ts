/* Azurite's tables in a process of their own, so that their processor time is told apart. */
import { startAzurite } from '../../support/azurite.ts'

const { connectionString } = await startAzurite()
console.log(`tables at ${connectionString}`)
