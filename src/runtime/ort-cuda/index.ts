/** ONNX Runtime on NVIDIA GPUs. */

import type { EngineEntry, EngineReport } from '../engines.ts'
import { messageOf, SwaError } from '../../util/errors.ts'
import { tryRunner } from '../probe.ts'
import { cureFor, linkerMessage, obstacleOn, thisMachine } from './cure.ts'
import { cudaEngine } from './engine.ts'

/** How ONNX Runtime ends what it says of a provider library that the dynamic linker refused. */
const NOT_LOADED = 'Failed to load shared library'

export const cuda: EngineEntry = {
  name: 'cuda',
  async probe({ device, precision }) {
    const machine = thisMachine()
    const obstacle = obstacleOn(machine)
    if (obstacle !== null) return missing(obstacle, cureFor(obstacle, machine))
    try {
      const engine = cudaEngine({ device, precision: precision ?? 'float32' })
      const { problem } = await tryRunner(model => engine.openRunner(model))
      if (problem !== null) {
        const reason = problem.endsWith(NOT_LOADED) ? linkerMessage() : null
        const whole = reason === null ? problem : `${problem}: ${reason}`
        return missing(whole, cureFor(whole, machine))
      }
      const found = `a small model ran on GPU ${device} and gave the right numbers`
      return { name: 'cuda', works: true, found, cure: null, accelerated: true }
    } catch (error) {
      return missing(messageOf(error), error instanceof SwaError ? (error.cure ?? null) : null)
    }
  },
  // eslint-disable-next-line @typescript-eslint/require-await -- a precision that is refused is to be a rejection
  open: async ({ device, precision = 'float32' }) => cudaEngine({ device, precision }),
}

function missing(found: string, cure: string | null): EngineReport {
  return { name: 'cuda', works: false, found, cure, accelerated: false }
}
