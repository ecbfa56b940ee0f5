/*
 * The OpenAI SDK. It takes about 0.1 s to load, so this file is imported with the first call to a target that needs it, and is
 * a file of its own in what is deployed.
 */

export { AzureOpenAI, OpenAI } from 'openai'
