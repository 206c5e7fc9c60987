/** The CPU provider under the default lowerings, without the CPU engine's own forms: an engine to test tests with. */

import { COMPOSITE_LOWERINGS, lowerComposites } from '../../src/autodiff/lowering/index.ts'
import type { Engine } from '../../src/runtime/engine.ts'
import { cpuEngine } from '../../src/runtime/ort-cpu/engine.ts'
import { openTrainer } from '../../src/runtime/ort/session.ts'
import { serializeLowered, type Lowered, type Program } from '../../src/runtime/program.ts'

export function plainEngine(): Engine {
  const lower = ({ graph, opset }: Program): Lowered => {
    return { graph: lowerComposites(graph, COMPOSITE_LOWERINGS), opset }
  }
  return {
    ...cpuEngine(),
    name: 'plain',
    lower,
    openTrainer: async (program, options = {}) =>
      openTrainer(program, await serializeLowered(lower(program)), {
        providers: ['cpu'],
        options,
        stepper: 'alternating',
      }),
  }
}
