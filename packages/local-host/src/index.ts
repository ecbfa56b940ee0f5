export { applyLocalSettings } from './host/local-settings.ts'
export { SIMULATED_MODEL, type SimulatedModel, startSimulatedModel } from './simulated-model.ts'
export { type OpenedStorage, openStorage } from './storage.ts'
