/** ONNX Runtime's CPU execution provider: state ping-pongs through the session thread, one run a step. */

import { availableParallelism } from 'node:os'
import { lowerComposites } from '../../autodiff/lowering/index.ts'
import type { Engine, SessionOptions } from '../engine.ts'
import { openRunner, openTrainer } from '../ort/session.ts'
import { serializeLowered, type Lowered, type Program } from '../program.ts'
import { CPU_CAPABILITIES } from './capabilities.ts'
import { toFastForms } from './fast-forms.ts'
import { mergeSharedConstants } from './lowering/constants.ts'
import { CPU_LOWERINGS } from './lowering/index.ts'

const PROVIDERS = ['cpu']

/**
 * Measured on ResNet-18 (224x224, batch 16). `all` would turn convolutions into a blocked layout and back, 3 to 10 %
 * slower; `basic` would leave out the fusions of Transpose into MatMul and of Relu into Conv. With memory patterns the
 * arena holds the blocks of the first run and the planned block of the others at once: 1981 instead of 1270 MB.
 */
const TRAINER_OPTIONS: SessionOptions = { optimization: 'extended', memoryPattern: false }

export function cpuEngine(): Engine {
  const withThreads = (options: SessionOptions = {}): SessionOptions => ({
    threads: availableParallelism(),
    ...options,
  })
  return {
    name: 'cpu',
    description: 'ONNX Runtime, CPU execution provider',
    capabilities: CPU_CAPABILITIES,
    lower: lowerForCpu,
    openRunner: (model, options) => openRunner(model, PROVIDERS, withThreads(options)),
    async openTrainer(program, options) {
      return openTrainer(program, await serializeLowered(lowerForCpu(program)), {
        providers: PROVIDERS,
        options: withThreads({ ...TRAINER_OPTIONS, ...options }),
        stepper: 'alternating',
      })
    },
  }
}

/**
 * The program in operators that the CPU provider executes. The model's own convolutions stay as they are: Winograd's
 * rounding, ten times that of the direct form, would turn more Relu gates and choices of MaxPool over, and one of them
 * moves the gradients of every layer before it by 1e-3 or more. In the backward pass it only rounds.
 */
export function lowerForCpu(program: Program): Lowered {
  const graph = lowerComposites(program.graph, CPU_LOWERINGS)
  toFastForms(graph)
  mergeSharedConstants(graph)
  return { graph, opset: program.opset }
}
