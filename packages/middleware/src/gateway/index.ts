export { CHECK_MS, createGateway, type Gateway, type GatewayOptions } from './create-gateway.ts'
export { azureDialect, type Dialect, dialectEntry, openaiDialect } from './dialect.ts'
