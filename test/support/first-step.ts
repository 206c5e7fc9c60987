/** One step of plain SGD, which shows the gradient; and a small model of two outputs with numbers to feed it. */

import type { Model } from '../../src/ir/graph.ts'
import { cpuEngine } from '../../src/runtime/ort-cpu/engine.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { initialState } from '../../src/train/initial-state.ts'
import type { LossGraph } from '../../src/train/loss-graph.ts'
import type { ObjectiveSpec } from '../../src/train/objective.ts'
import { prepareTraining, type HeadRequest } from '../../src/train/prepare.ts'
import { buildProgram } from '../../src/train/program.ts'
import { buildModel, floats } from '../passes/support/build.ts'
import { PLAIN_SGD } from './training.ts'

const engine = cpuEngine()

interface Step {
  readonly heads?: readonly HeadRequest[]
  readonly ownLoss?: LossGraph
  readonly loss: ObjectiveSpec
  readonly inputs: Readonly<Record<string, Tensor>>
  /** By data field; the data's only target is ''. */
  readonly targets: Readonly<Record<string, Tensor>>
}

/** Batches are given away to the engine. */
const copy = ({ dtype, dims, data }: Tensor) => new Tensor(dtype, dims, (data as Uint8Array).slice())

/** Metrics of the first step, and the gradient of each weight. */
export async function stepOf(model: Model, { heads, ownLoss, loss, inputs, targets }: Step) {
  const batchSize = Object.values(inputs)[0]!.dims[0]!
  const graph = await prepareTraining(engine, model, {
    batchSize,
    ...(heads ? { heads } : {}),
    ...(ownLoss ? { ownLoss } : {}),
  })
  const options = { optimizer: PLAIN_SGD, batchNorm: 'frozen', dropout: false } as const
  const training = buildProgram(graph, { ...options, loss })
  const trainer = await engine.openTrainer(training.program)
  try {
    await trainer.writeState(await initialState(graph, training))
    const theta = async () => (await trainer.readState()).get('theta')!.view() as Float32Array
    const before = (await theta()).slice()
    const [metrics] = await trainer.steps([
      new Map([
        ...Object.entries(inputs).map(([name, tensor]) => [name, copy(tensor)] as const),
        ...training.targets.map(({ name, field }) => [name, copy(targets[field ?? '']!)] as const),
        [training.scalarInputs[0]!, Tensor.scalar('float32', 1)],
      ]),
    ])
    const after = await theta()
    const gradients = training.parameters.unpack(before.map((value, i) => value - after[i]!))
    return { graph, training, metrics: metrics!, gradients }
  } finally {
    await trainer.close()
  }
}

export const X = [0.5, -1, 2, 0.25, 1.5, -0.75]
export const A = [0.1, -0.2, 0.3, 0.4, 0.5, -0.6, 0.7, 0.8, -0.9]
export const B = [0.3, -0.1, 0.2]

/** x [2,3] -> a = x · A [2,3] and b = x · B [2,1]. */
export const twoOutputs = () =>
  buildModel({
    inputs: { x: ['n', 3] },
    weights: { A: floats([3, 3], A), B: floats([3, 1], B) },
    nodes: [
      ['MatMul', ['x', 'A'], ['a']],
      ['MatMul', ['x', 'B'], ['b']],
    ],
    outputs: ['a', 'b'],
  })

export const x = floats([2, 3], X)
/** Element [n,c] of x · w. */
export const product = (n: number, c: number, w: number[], width: number) =>
  [0, 1, 2].reduce((sum, k) => sum + X[n * 3 + k]! * w[k * width + c]!, 0)
