/** ONNX Runtime's CPU execution provider: state ping-pongs through the session thread, one run a step. */

import { availableParallelism } from 'node:os'
import { lowerComposites } from '../../autodiff/lowering/index.ts'
import type { Engine, Precision, SessionOptions } from '../engine.ts'
import { openRunner, openTrainer } from '../ort/session.ts'
import { serializeLowered, type Lowered, type Program } from '../program.ts'
import { CPU_CAPABILITIES } from './capabilities.ts'
import { toFastForms } from './fast-forms.ts'
import { mergeSharedConstants } from './lowering/constants.ts'
import { CPU_LOWERINGS } from './lowering/index.ts'

const PROVIDERS = ['cpu']

export type CpuPrecision = Exclude<Precision, 'tf32'>

/**
 * Measured on ResNet-18 (224x224, batch 16). `all` would turn convolutions into a blocked layout and back, 3 to 10 %
 * slower; `basic` would leave out the fusions of Transpose into MatMul and of Relu into Conv. With memory patterns the
 * arena holds the blocks of the first run and the planned block of the others at once: 1981 instead of 1270 MB.
 */
const TRAINER_OPTIONS: SessionOptions = { optimization: 'extended', memoryPattern: false }

const SLOW =
  'cpu: float16 is computed in float32 with roundings between, slower than float32: it shows how accurate mixed precision is'

/** `precision` float16 is that of training programs, whose roundings it reproduces; it does not make them faster. */
export function cpuEngine(precision: CpuPrecision = 'float32'): Engine {
  const withThreads = (options: SessionOptions = {}): SessionOptions => ({
    threads: availableParallelism(),
    ...options,
  })
  return {
    name: 'cpu',
    description: 'ONNX Runtime, CPU execution provider',
    capabilities: CPU_CAPABILITIES,
    precision,
    lower: lowerForCpu,
    openRunner: (model, options) => openRunner(model, PROVIDERS, withThreads(options)),
    async openTrainer(program, options) {
      return openTrainer(program, await serializeLowered(lowerForCpu(program)), {
        providers: PROVIDERS,
        options: withThreads({ ...TRAINER_OPTIONS, ...options }),
        stepper: 'alternating',
        notes: precision === 'float16' ? [SLOW] : [],
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
