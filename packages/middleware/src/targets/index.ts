export { type AzureSettings, azure } from './azure.ts'
export { endpoint, type FromEnv, fromEnv } from './from-env.ts'
export { type GenerateSettings, generate as generateTarget } from './generate.ts'
export { TARGET_KINDS } from './kinds.ts'
export {
  type AzureUrl,
  azureUrl,
  isAzureAiHost,
  isAzureForm,
  isDated,
  ModelUrlFault,
  meansV1,
  openaiUrl,
} from './model-url.ts'
export { type OpenAISettings, openai } from './openai.ts'
export {
  type AskedOperation,
  type Json as JsonObject,
  kindOf,
  type RequestTemplate,
  type TargetContext,
  TargetFault,
  type TargetKind,
  type TargetPlace,
  type TargetSettings,
  type TokenSource,
  type Translation,
  type Untranslatable,
} from './target-kind.ts'
