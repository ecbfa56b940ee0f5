/*
 * The clients by which models and tokens are asked for. They take about 0.1 s to load, so this file is imported with the first
 * call, and is a file of its own in what is deployed.
 */

export { Agent, EnvHttpProxyAgent, Pool } from 'undici'

/** Azure's HTTP client, which only tokens need. */
export const loadAzurePipeline = () => import('@azure/core-rest-pipeline')
