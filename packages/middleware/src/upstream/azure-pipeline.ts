/*
 * Azure's HTTP client, which only tokens need. It is imported with the first of them, and is a file of its own in what is
 * deployed.
 */

export { createDefaultHttpClient } from '@azure/core-rest-pipeline'
