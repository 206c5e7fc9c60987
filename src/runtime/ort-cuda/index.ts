/** ONNX Runtime on NVIDIA GPUs. */

import type { EngineEntry } from '../engines.ts'
import { messageOf, SwaError } from '../../util/errors.ts'
import { tryRunner } from '../probe.ts'
import { cureFor, thisMachine } from './cure.ts'
import { cudaEngine } from './engine.ts'

export const cuda: EngineEntry = {
  name: 'cuda',
  async probe({ device, precision }) {
    try {
      // A precision that there is not is an error of the caller's, which opening the engine reports.
      const engine = cudaEngine({ device, precision: precision === 'tf32' ? 'tf32' : 'float32' })
      const { problem } = await tryRunner(model => engine.openRunner(model))
      return {
        name: 'cuda',
        works: problem === null,
        found: problem ?? `a small model ran on GPU ${device} and gave the right numbers`,
        cure: problem === null ? null : cureFor(problem, thisMachine()),
        accelerated: problem === null,
      }
    } catch (error) {
      const cure = error instanceof SwaError ? (error.cure ?? null) : null
      return { name: 'cuda', works: false, found: messageOf(error), cure, accelerated: false }
    }
  },
  // The engine may be refused: that is a rejection.
  // eslint-disable-next-line @typescript-eslint/require-await
  open: async ({ device, precision = 'float32' }) => cudaEngine({ device, precision }),
}
