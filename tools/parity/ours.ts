/** Our side of a comparison: the gradients of an exported model, through the product's own training program. */

import { Tensor } from '../../src/tensor/tensor.ts'
import type { Engine, Feeds, Trainer } from '../../src/runtime/engine.ts'
import { loadModel, openSafetensors } from '../../src/serde/index.ts'
import { initialState } from '../../src/train/initial-state.ts'
import { prepareTraining } from '../../src/train/prepare.ts'
import { buildProgram } from '../../src/train/program.ts'

/** The velocity of SGD after its first step is the gradient itself. */
const VELOCITY = 'momentum'

export interface Opened {
  readonly trainer: Trainer
  readonly buildMs: number
  /** The gradient of every trained weight, by its name in the file. */
  gradients(feeds: Feeds): Promise<Map<string, Tensor>>
  step(feeds: Feeds): Promise<number>
  close(): Promise<void>
}

/** Builds the training step of an exported model for a batch: mean square of output minus target, plain statistics. */
export async function openOurs(
  engine: Engine,
  path: string,
  batch: Feeds,
  options: { readonly statistics: 'batch' | 'running'; readonly threads: number },
): Promise<Opened> {
  const started = performance.now()
  const file = await loadModel(path)
  const target = batch.get('target')!
  const shapes = new Map([...batch].filter(([name]) => name !== 'target').map(([name, { dims }]) => [name, dims]))
  const used = new Map([...shapes].filter(([name]) => file.model.graph.feeds.some(input => input.name === name)))
  const [first] = used.values()
  const graph = await prepareTraining(engine, file.model, {
    batchSize: first?.[0] ?? target.dims[0]!,
    inputShapes: used,
    attach: 'output',
  })
  const training = buildProgram(graph, {
    loss: { kind: 'mse' },
    optimizer: { kind: 'sgd', momentum: 0.9, nesterov: false, weightDecay: 0 },
    batchNorm: options.statistics === 'batch' ? 'train' : 'frozen',
    dropout: false,
  })
  const trainer = await engine.openTrainer(training.program, { threads: options.threads })
  const buildMs = performance.now() - started
  const state = await initialState(graph, training)
  const fed = (feeds: Feeds, lr: number) =>
    new Map([
      ...[...used.keys()].map(name => [name, copyOf(feeds.get(name)!)] as const),
      [training.target.name, copyOf(feeds.get('target')!)] as const,
      [training.scalarInputs[0]!, Tensor.scalar('float32', lr)] as const,
    ])
  return {
    trainer,
    buildMs,
    async gradients(feeds) {
      await trainer.writeState(state)
      await trainer.steps([fed(feeds, 0)])
      const velocity = (await trainer.readState()).get(VELOCITY)!
      return training.parameters.unpack(velocity.view() as Float32Array)
    },
    async step(feeds) {
      const begin = performance.now()
      await trainer.steps([fed(feeds, 1e-4)])
      return performance.now() - begin
    },
    async close() {
      await trainer.close()
      await file.close()
    },
  }
}

/** Trainers take what they are given. */
function copyOf(tensor: Tensor): Tensor {
  return new Tensor(tensor.dtype, tensor.dims, (tensor.data as Uint8Array).slice())
}

/** The batch that PyTorch's side wrote. */
export async function readBatch(path: string): Promise<Map<string, Tensor>> {
  const { tensors, close } = await openSafetensors(path)
  const batch = new Map<string, Tensor>()
  for (const [name, tensor] of tensors) batch.set(name, await tensor.load())
  await close()
  return batch
}
