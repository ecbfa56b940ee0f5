/*
 * Azure's libraries for tables. They take about 0.15 s to load, so this file is imported with the first use of a table, and is
 * a file of its own in what is deployed.
 */

export { createDefaultHttpClient, createHttpHeaders, createPipelineRequest } from '@azure/core-rest-pipeline'
export { odata, RestError, TableClient } from '@azure/data-tables'
