/** Our side of a comparison: the gradients of an exported model, through the product's own training program. */

import { Tensor } from '../../src/tensor/tensor.ts'
import type { Model } from '../../src/ir/graph.ts'
import type { Engine, Feeds } from '../../src/runtime/engine.ts'
import { loadModel, openSafetensors } from '../../src/serde/index.ts'
import { initialState } from '../../src/train/initial-state.ts'
import { prepareTraining } from '../../src/train/prepare.ts'
import { buildProgram } from '../../src/train/program.ts'

/** The velocity of SGD after its first step is the gradient itself. */
const VELOCITY = 'momentum'

/** Of the timed steps. */
const LEARNING_RATE = 1e-4

export interface Opened {
  readonly buildMs: number
  /** The gradient of every trained weight, by its name in the file. */
  gradients(feeds: Feeds): Promise<Map<string, Tensor>>
  step(feeds: Feeds): Promise<number>
  close(): Promise<void>
}

/** Builds the training step of an exported model for a batch: mean square of output minus target. */
export async function openOurs(
  engine: Engine,
  path: string,
  batch: Feeds,
  options: { readonly statistics: 'batch' | 'running'; readonly threads: number },
): Promise<Opened> {
  const started = performance.now()
  const file = await loadModel(path)
  try {
    return await openTraining(engine, file.model, batch, { ...options, started })
  } finally {
    await file.close()
  }
}

async function openTraining(
  engine: Engine,
  model: Model,
  batch: Feeds,
  options: { readonly statistics: 'batch' | 'running'; readonly threads: number; readonly started: number },
): Promise<Opened> {
  const feeds = model.graph.feeds.map(input => input.name)
  const shapes = feeds.map(name => [name, batch.get(name)!.dims] as const)
  const graph = await prepareTraining(engine, model, {
    batchSize: batch.get('target')!.dims[0]!,
    inputShapes: new Map(shapes),
    heads: [{ attach: 'output' }],
    sample: () => Promise.resolve(batch),
  })
  const training = buildProgram(graph, {
    loss: { kind: 'mse' },
    optimizer: { kind: 'sgd', momentum: 0.9, nesterov: false, weightDecay: 0 },
    batchNorm: options.statistics === 'batch' ? 'train' : 'frozen',
    dropout: false,
  })
  const trainer = await engine.openTrainer(training.program, { threads: options.threads })
  const buildMs = performance.now() - options.started
  const state = await initialState(graph, training)
  const fed = (tensors: Feeds, lr: number) =>
    new Map([
      ...feeds.map(name => [name, copyOf(tensors.get(name)!)] as const),
      [training.targets[0]!.name, copyOf(tensors.get('target')!)] as const,
      [training.scalarInputs[0]!, Tensor.scalar('float32', lr)] as const,
    ])
  return {
    buildMs,
    async gradients(tensors) {
      await trainer.writeState(new Map([...state].map(([name, tensor]) => [name, copyOf(tensor)])))
      await trainer.steps([fed(tensors, 0)])
      const velocity = (await trainer.readState()).get(VELOCITY)!
      return training.parameters.unpack(velocity.view() as Float32Array)
    },
    async step(tensors) {
      const begin = performance.now()
      await trainer.steps([fed(tensors, LEARNING_RATE)])
      return performance.now() - begin
    },
    close: () => trainer.close(),
  }
}

/** Trainers take what they are given. */
function copyOf(tensor: Tensor): Tensor {
  return new Tensor(tensor.dtype, tensor.dims, (tensor.data as Uint8Array).slice())
}

/** The batch that PyTorch's side wrote. */
export async function readBatch(path: string): Promise<Map<string, Tensor>> {
  const file = await openSafetensors(path)
  const batch = new Map<string, Tensor>()
  for (const [name, tensor] of file.tensors) batch.set(name, await tensor.load())
  await file.close()
  return batch
}
