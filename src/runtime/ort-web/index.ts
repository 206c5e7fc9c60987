/** ONNX Runtime in a browser. */

export { wasmEngine, webgpuEngine } from './engine.ts'
export type { WebOptions } from './load.ts'
export { probeWebEngines, WEB_ENGINES, openWebEngine, type WebEngineName } from './probe.ts'
