/** Ten steps of a classifier on given batches: the same source runs in Node and, bundled, in a browser. */

import type { Engine, Traffic } from '../../../src/runtime/engine.ts'
import { openModelBytes } from '../../../src/serde/index.ts'
import { Tensor } from '../../../src/tensor/tensor.ts'
import { initialState } from '../../../src/train/initial-state.ts'
import { prepareTraining } from '../../../src/train/prepare.ts'
import { buildProgram } from '../../../src/train/program.ts'
import { weightsOfState } from '../../../src/train/weights.ts'

/** Plain numbers, which cross from Node to a page. */
export interface StepsRequest {
  readonly dims: readonly number[]
  readonly inputs: readonly (readonly number[])[]
  readonly targets: readonly (readonly number[])[]
  readonly lr: number
  readonly momentum: number
  readonly weightDecay: number
}

export interface StepsResult {
  readonly engine: string
  readonly losses: readonly number[]
  /** Parameters and running statistics after the last step. */
  readonly weights: Readonly<Record<string, readonly number[]>>
  readonly notes: readonly string[]
  readonly traffic: Traffic
}

export async function runSteps(
  engine: Engine,
  model: Uint8Array,
  request: StepsRequest,
): Promise<StepsResult> {
  const { dims, inputs, targets, lr, momentum, weightDecay } = request
  const file = await openModelBytes(model)
  const graph = await prepareTraining(engine, file.model, { batchSize: dims[0]! })
  const training = buildProgram(graph, {
    loss: { kind: 'cross-entropy' },
    optimizer: { kind: 'sgd', momentum, nesterov: false, weightDecay },
    batchNorm: 'train',
    dropout: false,
  })
  const trainer = await engine.openTrainer(training.program)
  try {
    await trainer.writeState(await initialState(graph, training))
    const losses: number[] = []
    for (const [i, input] of inputs.entries()) {
      const scalars = training.optimizer.scalarsAt(i + 1, lr)
      const feeds = new Map([
        [graph.inputs[0]!.name, Tensor.of('float32', dims, input)],
        [training.targets[0]!.name, Tensor.of('int64', [dims[0]!], targets[i]!)],
        ...training.scalarInputs.map((name, k) => [name, Tensor.scalar('float32', scalars[k]!)] as const),
      ])
      const [metrics] = await trainer.steps([feeds])
      losses.push(metrics!.get('loss')!)
    }
    const weights = weightsOfState(training, await trainer.readState())
    return {
      engine: engine.description,
      losses,
      weights: Object.fromEntries([...weights].map(([name, tensor]) => [name, tensor.toNumbers()])),
      notes: trainer.notes,
      traffic: trainer.traffic,
    }
  } finally {
    await trainer.close()
  }
}
