/** ONNX Runtime in a browser. */

export { openWasmRunner, wasmEngine, webgpuEngine } from './engine.ts'
export type { WebOptions } from './load.ts'
export type { DataFile } from './session.ts'
export {
  openWebEngine,
  preferredWebEngine,
  probeWebEngines,
  WEB_ENGINES,
  type WebEngineName,
  type WebEngineReport,
} from './probe.ts'
