/** WebGPU in Node: any GPU with a Vulkan, Metal or Direct3D 12 driver. */

import { UsageError } from '../../util/errors.ts'
import type { EngineEntry } from '../engines.ts'
import { webgpuEngine } from './engine.ts'
import { probeWebgpu } from './probe.ts'

export const webgpu: EngineEntry = {
  name: 'webgpu',
  probe: probeWebgpu,
  open({ device }) {
    if (device === 0) return Promise.resolve(webgpuEngine())
    return Promise.reject(
      new UsageError(`--engine: webgpu has no choice of device, found webgpu:${device}`, {
        cure: 'the graphics driver chooses; on Linux, VK_DRIVER_FILES names the driver to use',
      }),
    )
  },
}
