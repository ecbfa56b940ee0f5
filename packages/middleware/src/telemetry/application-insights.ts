import type { TokenCredential } from '@azure/core-auth'
import type { Resource } from '@opentelemetry/resources'
// Its isolated providers alone. The package's own entry loads 2,000 modules, patches those of the app, takes the process's global
// OpenTelemetry, and would tell once more what is told here.
import { TelemetryClientProvider } from 'applicationinsights/out/src/shim/telemetryClientProvider.js'
import { OperatorError, withoutProxyNearby } from '../pipeline/index.ts'
import { type Exporter, exporterTo, SCOPE } from './exporter.ts'

export interface ApplicationInsights {
  readonly connectionString: string
  /** Of all traces, the part that is sent: each span says how many it stands for. 1 by default. */
  readonly sampledPart?: number
  /** To sign in by Entra: the client id of a user-assigned identity, `undefined` for the system's. Left out: by the key. */
  readonly identity?: { readonly clientId: string | undefined }
}

const CONNECTION_STRING = /(?:^|;)\s*InstrumentationKey=[\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12}\s*(?:;|$)/i

/** Sends to Application Insights by Microsoft's own package. @throws OperatorError for a connection string that is none */
export async function applicationInsights(
  { connectionString, sampledPart = 1, identity }: ApplicationInsights,
  resource: Resource,
): Promise<Exporter> {
  if (!CONNECTION_STRING.test(connectionString)) {
    throw new OperatorError(
      'APPLICATIONINSIGHTS_CONNECTION_STRING must hold InstrumentationKey=<a UUID>, as the portal shows it.',
    )
  }
  // Else it would tell Microsoft of itself.
  process.env.APPLICATION_INSIGHTS_NO_STATSBEAT ??= 'true'
  const credential = identity && (await credentialOf(identity))
  const provider = new TelemetryClientProvider({
    azureMonitorExporterOptions: {
      connectionString,
      // What is written to a disk is read by each process that starts on it, and would be sent twice.
      disableOfflineStorage: true,
      ...(credential === undefined ? {} : { credential }),
    },
    resource,
    // What is not to be sent does not come here.
    samplingRatio: 1,
  })
  return exporterTo({
    tracer: provider.getTracer(SCOPE),
    meter: provider.getMeter(SCOPE),
    ...(sampledPart < 1 ? { attributes: { 'microsoft.sample_rate': sampledPart * 100 } } : {}),
    flush: () => provider.flush(),
    close: () => provider.shutdown(),
  })
}

async function credentialOf({ clientId }: { readonly clientId: string | undefined }): Promise<TokenCredential> {
  const { DefaultAzureCredential } = await import('@azure/identity')
  const options = clientId === undefined ? {} : { managedIdentityClientId: clientId }
  return withoutProxyNearby(() => new DefaultAzureCredential(options))
}
