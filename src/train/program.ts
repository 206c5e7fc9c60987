/**
 * The training program: forward graph, loss, gradients and optimizer as one graph that maps
 * (state, batch, targets, step scalars) to (next state, metrics).
 */

import { pullBack, RULES } from '../autodiff/index.ts'
import { Builder } from '../ir/builder.ts'
import { Graph } from '../ir/graph.ts'
import type { Node } from '../ir/node.ts'
import { sortNodes } from '../ir/topology.ts'
import { Value } from '../ir/value.ts'
import { joinPads, namesOf, redirectReads, toInferenceForm } from '../passes/index.ts'
import type { Program, StepInput } from '../runtime/program.ts'
import { Tensor } from '../tensor/tensor.ts'
import { InputError } from '../util/errors.ts'
import { FlatLayout } from './flat.ts'
import { LOSS_SCALE, LossScaling, rowInput, rowOf, type LossScaleSpec } from './loss-scaling.ts'
import { targetType, writeCorrect, writeLoss, type LossSpec } from './losses.ts'
import { toMixedPrecision } from './mixed-precision.ts'
import { makeOptimizer, type Optimizer, type OptimizerSpec } from './optimizers.ts'
import { poolBeforeRelu } from './pool-before-relu.ts'
import type { TrainingGraph } from './prepare.ts'
import { recompute, type RecomputeOptions } from './recompute.ts'
import { StateWriter, THETA } from './state-writer.ts'
import { replaceBatchNorms, replaceDropouts, type DropoutMask } from './training-form.ts'

export interface ProgramOptions {
  readonly loss: LossSpec
  readonly optimizer: OptimizerSpec
  /** `train`: normalise by batch statistics and update the running ones; `frozen`: keep the model's statistics. */
  readonly batchNorm: 'train' | 'frozen'
  /** Whether Dropout nodes drop; the masks are step inputs, so that a step depends on nothing but its number. */
  readonly dropout: boolean
  /** Whether activations are computed again in the backward pass instead of being kept for it. */
  readonly recompute?: boolean | RecomputeOptions
  /** Mixed precision: float16 between float32 parameters and a float32 loss, whose gradient is scaled. Default: float32. */
  readonly precision?: 'float32' | 'float16'
  /** The scaling of mixed precision; default: GradScaler's. */
  readonly lossScale?: LossScaleSpec
}

export interface TrainingProgram {
  readonly program: Program
  /** Parameters inside the state vector `theta` (and inside each optimizer slot). */
  readonly parameters: FlatLayout
  /** Running means and variances inside the state vector `bn`; empty when there are none to update. */
  readonly statistics: FlatLayout
  readonly optimizer: Optimizer
  /** Names of the optimizer's step scalars among the inputs, in its order. */
  readonly scalarInputs: readonly string[]
  /** What is fed to them at a step (counted from 1) with the learning rate `lr`. */
  scalarsAt(step: number, lr: number): Map<string, Tensor>
  /** How the loss of mixed precision is scaled; null in float32. */
  readonly lossScale: LossScaleSpec | null
  readonly target: StepInput
  readonly dropouts: readonly DropoutMask[]
}

/** Builds the program. The training graph is consumed: its nodes become part of the program's. */
export function buildProgram(training: TrainingGraph, options: ProgramOptions): TrainingProgram {
  const { graph } = training.model
  const op = new Builder(namesOf(graph))
  const parameters = new FlatLayout(
    training.parameters.map(({ name, value }) => ({ name, shape: value.shape })),
  )
  if (parameters.length === 0) {
    throw new InputError('model: no parameter is trainable', {
      cure: 'see `swa-onnx inspect`, and the options --train and --freeze',
    })
  }
  const state = new StateWriter(op)

  // 1. The carried parameters take the places of the model's weights.
  const weights = state.declare(THETA, parameters)
  const places = new Map(training.parameters.map(({ value }, i) => [value, weights[i]!]))
  redirectReads(graph, places)

  // 2. Batch norms and dropouts take their training form, max poolings their place before a Relu.
  const batchNorms = options.batchNorm === 'train' ? replaceBatchNorms(training, op) : null
  if (!batchNorms) toInferenceForm(training.model)
  const dropouts = replaceDropouts(graph, op, options.dropout)
  poolBeforeRelu(graph, op)

  // 3. Loss, metrics, and the gradient of every parameter.
  const logits = graph.outputs[0]!
  const type = targetType(options.loss, logits)
  const target = Value.typed(op.uniqueName('target'), type.dtype, type.shape)
  const loss = writeLoss(op, options.loss, logits, target)
  const correct = writeCorrect(op, options.loss, logits, target)
  const forward = sortNodes([...graph.nodes, ...op.nodes.splice(0)])
  const scaling = lossScalingOf(state, options)
  const seed = scaling?.scale ?? op.full(loss.shape, 1, loss.dtype)
  const gradients = pullBack(op, forward, new Map([[loss, seed]]), weights, {
    rules: RULES,
    opset: training.opset,
  })
  const kept = op.nodes.splice(0)
  const { recompute: again = false } = options
  const fed = [...training.inputs, ...dropouts.map(mask => mask.value)]
  const backward = again ? recompute(op, { inputs: fed, forward, backward: kept }, again === true ? {} : again) : kept

  // 4. Running statistics and optimizer. Updates come last and in forward order: ONNX Runtime walks back from the end, so
  // the last layer is updated, and the memory of its gradient free, before the gradient of the first layer begins.
  const statistics = batchNorms ? batchNorms.write(state) : new FlatLayout([])
  const optimizer = makeOptimizer(options.optimizer)
  const scalarInputs = optimizer.scalarNames.map(name =>
    scaling
      ? rowInput(op.uniqueName(`step/${name}`))
      : Value.typed(op.uniqueName(`step/${name}`), 'float32', []),
  )
  const scalars = scaling ? scalarInputs.map(row => scaling.chosen(row)) : scalarInputs
  const slots = optimizer.slotNames.map(name => state.declare(name, parameters))
  const scaled = weights.map(theta => gradients.get(theta)!)
  const found = scaling?.unscaled(scaled) ?? scaled
  const good = scaling?.areFinite(scaled)
  const settle = (next: Value, now: Value) => (good ? op.Where(good, next, now) : next)
  op.within('optimizer', () => {
    weights.forEach((theta, i) => {
      const grad = found[i]!
      const update = optimizer.update({ op, theta, grad, slots: slots.map(slot => slot[i]!), scalars })
      state.next(THETA, i, settle(update.theta, theta))
      optimizer.slotNames.forEach((name, k) => state.next(name, i, settle(update.slots[k]!, slots[k]![i]!)))
    })
  })

  // 5. One graph of it all.
  const metrics = new Map([
    ['loss', loss],
    ...(correct ? [['correct', correct] as const] : []),
    ...(scaling && good ? scaling.write(good) : []),
  ])
  for (const [name, value] of metrics) value.name = op.uniqueName(name)
  const inputs = [...training.inputs, target, ...scalarInputs, ...dropouts.map(mask => mask.value)]
  const program = new Graph('training_step')
  program.inputs = [...state.inputs, ...inputs]
  program.outputs = [...state.outputs, ...metrics.values()]
  program.initializers = [...graph.initializers.filter(value => !places.has(value)), ...op.initializers]
  program.nodes = [...forward, ...backward, ...op.nodes]
  dropUnread(program)
  joinPads(program)
  if (scaling) toMixedPrecision(program)
  return {
    program: {
      graph: program,
      opset: training.opset,
      state: state.vectors,
      inputs: inputs.map(({ name, dtype, shape }) => ({ name, dtype, shape })),
      metrics: [...metrics.values()].map(value => value.name),
    },
    parameters,
    statistics,
    optimizer,
    scalarInputs: scalarInputs.map(value => value.name),
    scalarsAt: (step, lr) =>
      new Map(
        scalarInputs.map(({ name }, i) => {
          const valueAt = (counted: number) => optimizer.scalarsAt(counted, lr)[i]!
          return [name, scaling ? rowOf(step, valueAt) : Tensor.scalar('float32', valueAt(step))]
        }),
      ),
    lossScale: scaling ? (options.lossScale ?? LOSS_SCALE) : null,
    target: { name: target.name, dtype: target.dtype, shape: target.shape },
    dropouts,
  }
}

function lossScalingOf(
  state: StateWriter,
  { precision, lossScale = LOSS_SCALE }: ProgramOptions,
): LossScaling | null {
  return precision === 'float16' ? new LossScaling(state, lossScale) : null
}

/** Removes initializers that nothing reads any more (running statistics, mostly). */
function dropUnread(graph: Graph): void {
  const read = new Set<Value | null>(graph.nodes.flatMap((node: Node) => node.inputs))
  graph.initializers = graph.initializers.filter(value => read.has(value))
}
