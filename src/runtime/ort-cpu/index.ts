/** ONNX Runtime on the CPU: the engine that is always there. */

import type { EngineEntry } from '../engines.ts'
import { tryRunner } from '../probe.ts'
import { cpuEngine } from './engine.ts'

export const cpu: EngineEntry = {
  name: 'cpu',
  async probe() {
    const { problem } = await tryRunner(model => cpuEngine().openRunner(model))
    return {
      name: 'cpu',
      works: problem === null,
      found: problem ?? 'a small model ran and gave the right numbers',
      cure: problem === null ? null : 'run `npm install onnxruntime-node`',
      accelerated: false,
    }
  },
  open: ({ precision }) => Promise.resolve(cpuEngine(precision === 'float16' ? precision : 'float32')),
}
