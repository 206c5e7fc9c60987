/** ONNX Runtime's CPU execution provider: state ping-pongs through the session thread, one run a step. */

import { availableParallelism } from 'node:os'
import { COMPOSITE_LOWERINGS, lowerComposites } from '../../autodiff/lowering/index.ts'
import { Model } from '../../ir/graph.ts'
import { ONNX_DOMAIN } from '../../ir/node.ts'
import { serializeModel } from '../../serde/index.ts'
import type { Engine, SessionOptions } from '../engine.ts'
import { openRunner, openTrainer } from '../ort/session.ts'
import type { Program } from '../program.ts'

const PROVIDERS = ['cpu']
/** IR version of the programs we write: the one of opset 18 (ONNX 1.13), read by every ONNX Runtime since 1.14. */
const PROGRAM_IR_VERSION = 8

export function cpuEngine(): Engine {
  const withThreads = (options: SessionOptions = {}): SessionOptions => ({
    threads: availableParallelism(),
    ...options,
  })
  return {
    name: 'cpu',
    description: 'ONNX Runtime, CPU execution provider',
    openRunner: (model, options) => openRunner(model, PROVIDERS, withThreads(options)),
    async openTrainer(program, options) {
      return openTrainer(program, await serializeModel(lowerForCpu(program)), PROVIDERS, withThreads(options))
    },
  }
}

/** The program in operators that the CPU provider executes. */
export function lowerForCpu(program: Program): Model {
  const graph = lowerComposites(program.graph, COMPOSITE_LOWERINGS)
  return new Model(graph, PROGRAM_IR_VERSION, new Map([[ONNX_DOMAIN, program.opset]]))
}
