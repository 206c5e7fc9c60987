/** WebGPU in Node: any GPU with a Vulkan, Metal or Direct3D 12 driver. */

import { EnvironmentError, UsageError } from '../../util/errors.ts'
import type { Engine } from '../engine.ts'
import type { EngineEntry } from '../engines.ts'
import { tryRunner } from '../probe.ts'
import { webgpuEngine } from './engine.ts'
import { probeWebgpu } from './probe.ts'

export const webgpu: EngineEntry = {
  name: 'webgpu',
  probe: probeWebgpu,
  async open({ device, precision }) {
    if (device !== 0) {
      throw new UsageError(`--engine: webgpu has no choice of device, found webgpu:${device}`, {
        cure: 'the graphics driver chooses; on Linux, VK_DRIVER_FILES names the driver to use',
      })
    }
    const engine = webgpuEngine(precision === 'float16' ? precision : 'float32')
    if (precision === 'float16') await checkHalf(engine)
    return engine
  },
}

/** Adapters have 16-bit floats or not; ONNX Runtime tells by failing. */
async function checkHalf(engine: Engine): Promise<void> {
  const { problem } = await tryRunner(model => engine.openRunner(model), 'float16')
  if (problem === null) return
  throw new EnvironmentError(
    `webgpu: the graphics adapter does not compute in float16 (shader-f16): ${problem}`,
    {
      cure: 'leave --precision float16 out',
    },
  )
}
