export { CHECK_MS, createGateway, type Gateway, type GatewayOptions } from './create-gateway.ts'
