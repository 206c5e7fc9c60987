/** A training program of a fixture model on an engine, its state set to the model's weights. */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { cpuEngine } from '../../src/runtime/ort-cpu/engine.ts'
import type { Engine, Trainer } from '../../src/runtime/engine.ts'
import { deserializeModel } from '../../src/serde/index.ts'
import { sizeOf } from '../../src/tensor/shape.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { initialState } from '../../src/train/initial-state.ts'
import type { OptimizerSpec } from '../../src/train/optimizers.ts'
import { prepareTraining, type TrainingGraph } from '../../src/train/prepare.ts'
import { buildProgram, type ProgramOptions, type TrainingProgram } from '../../src/train/program.ts'
import { readSafetensors } from './safetensors.ts'

export const MODELS = join(import.meta.dirname, '../../fixtures/models')

/** A model of each family, from every exporter, for what does not depend on how a model was exported. */
export const FAMILIES = [
  ...['mlp-ts13', 'mlp-dynamo', 'bn_cnn-ts', 'bn_cnn-dynamo-raw'],
  ...['resnet18_narrow-ts', 'mobilenetv2_narrow-dynamo'],
]

export interface Reference {
  readonly batch: number
  readonly loss: number
  readonly loss_eval: number
  readonly losses64: readonly number[]
  readonly hyperparameters: {
    readonly lr: number
    readonly momentum: number
    readonly weight_decay: number
    readonly swa_after_steps: readonly number[]
  }
  readonly initializers: Readonly<Record<string, { readonly kind: string }>>
  readonly zero_gradients: readonly string[]
}

export interface OpenTraining {
  readonly reference: Reference
  readonly tensors: ReadonlyMap<string, Tensor>
  readonly graph: TrainingGraph
  readonly training: TrainingProgram
  readonly trainer: Trainer
  /** Sets the state back to the model's weights. */
  reset(): Promise<void>
  /** One step on rows of the reference; returns the loss. */
  step(input: Tensor, target: Tensor, scalars: readonly number[]): Promise<number>
}

/** Opens a fixture model with the reference's SGD, or another optimizer, on the CPU engine, or another. */
export async function openTraining(
  name: string,
  batchNorm: 'train' | 'frozen',
  optimizer?: OptimizerSpec,
  engine: Engine = cpuEngine(),
  memory: Pick<ProgramOptions, 'recompute' | 'precision' | 'lossScale' | 'accumulate'> = {},
): Promise<OpenTraining> {
  const folder = join(MODELS, name)
  const reference = JSON.parse(readFileSync(join(folder, 'reference.json'), 'utf8')) as Reference
  const tensors = readSafetensors(join(folder, 'reference.safetensors'))
  const model = await deserializeModel(readFileSync(join(folder, 'model.onnx')), name)
  const graph = await prepareTraining(engine, model, { batchSize: reference.batch })
  const { momentum, weight_decay: weightDecay } = reference.hyperparameters
  const training = buildProgram(graph, {
    loss: { kind: 'cross-entropy' },
    optimizer: optimizer ?? { kind: 'sgd', momentum, nesterov: false, weightDecay },
    batchNorm,
    dropout: false,
    ...memory,
  })
  const trainer = await engine.openTrainer(training.program)
  const reset = async () => trainer.writeState(await initialState(graph, training))
  await reset()
  return {
    ...{ reference, tensors, graph, training, trainer, reset },
    async step(input, target, scalars) {
      const copy = (tensor: Tensor) =>
        new Tensor(tensor.dtype, tensor.dims, (tensor.data as Uint8Array).slice())
      // In mixed precision each is fed as a row of choices, which are all the same here.
      const shapes = new Map(training.program.inputs.map(({ name, shape }) => [name, shape]))
      const named = training.scalarInputs.map((scalar, i) => {
        const shape = shapes.get(scalar)!
        return [
          scalar,
          Tensor.of('float32', shape, new Array<number>(sizeOf(shape)).fill(scalars[i]!)),
        ] as const
      })
      const feeds = new Map([
        [graph.inputs[0]!.name, copy(input)],
        [training.targets[0]!.name, copy(target)],
        ...named,
      ])
      const [metrics] = await trainer.steps([feeds])
      return metrics!.get('loss')!
    },
  }
}

/** Row `index` of a stack of tensors. */
export function row(stack: Tensor, index: number): Tensor {
  const bytes = stack.data as Uint8Array
  const size = bytes.length / stack.dims[0]!
  return new Tensor(stack.dtype, stack.dims.slice(1), bytes.slice(index * size, (index + 1) * size))
}

/** Plain SGD: its step is minus the learning rate times the gradient. */
export const PLAIN_SGD: OptimizerSpec = { kind: 'sgd', momentum: 0, nesterov: false, weightDecay: 0 }

/** A learning rate under which the step drowns the weights, so that it shows the gradient with all its digits. */
const HUGE = 2 ** 20

/** Loss and gradients of the reference batch, for a training opened with PLAIN_SGD; it is spent afterwards. */
export async function gradientsOf(
  run: OpenTraining,
): Promise<{ loss: number; gradients: Map<string, Tensor> }> {
  const { tensors, training, trainer } = run
  const before = (await trainer.readState()).get('theta')!.view() as Float32Array
  const loss = await run.step(tensors.get('input/input')!, tensors.get('target')!, [HUGE])
  const after = (await trainer.readState()).get('theta')!.view() as Float32Array
  return { loss, gradients: training.parameters.unpack(before.map((value, i) => (value - after[i]!) / HUGE)) }
}
