/** The CUDA engine's programs on ONNX Runtime's CPU provider: all of the engine but the device. */

import type { Engine } from '../../src/runtime/engine.ts'
import { loopEngine, type LoopEngineSetup } from '../../src/runtime/ort-cuda/engine.ts'

export function cpuLoopEngine(setup: Partial<LoopEngineSetup> = {}): Engine {
  return loopEngine({
    description: "the CUDA engine's programs on the CPU provider",
    providers: ['cpu'],
    provider: 'CPUExecutionProvider',
    ...setup,
  })
}
