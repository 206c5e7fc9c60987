/**
 * The training program: forward graph, loss, gradients and optimizer as one graph that maps
 * (state, batch, targets, step scalars) to (next state, metrics).
 */

import { pullBack, RULES } from '../autodiff/index.ts'
import { Builder } from '../ir/builder.ts'
import { Graph } from '../ir/graph.ts'
import type { Node } from '../ir/node.ts'
import { sortNodes } from '../ir/topology.ts'
import type { Value } from '../ir/value.ts'
import { joinPads, namesOf, redirectReads, toInferenceForm } from '../passes/index.ts'
import type { Program } from '../runtime/program.ts'
import type { Tensor } from '../tensor/tensor.ts'
import { InputError } from '../util/errors.ts'
import { FlatLayout } from './flat.ts'
import { LOSS_SCALE, LossScaling, type LossScaleSpec } from './loss-scaling.ts'
import { toMixedPrecision } from './mixed-precision.ts'
import { writeObjective, type ObjectiveSpec, type TargetInput } from './objective.ts'
import type { Optimizer } from './optimizers.ts'
import { poolBeforeRelu } from './pool-before-relu.ts'
import type { TrainingGraph } from './prepare.ts'
import { recompute, type RecomputeOptions, type Step } from './recompute.ts'
import { StateWriter, THETA } from './state-writer.ts'
import { replaceBatchNorms, replaceDropouts, type DropoutMask } from './training-form.ts'
import { writeUpdate, type UpdateOptions } from './update.ts'

export interface ProgramOptions extends UpdateOptions {
  readonly loss: ObjectiveSpec
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
  /** Every state vector. */
  readonly state: ReadonlyMap<string, FlatLayout>
  readonly optimizer: Optimizer
  /** Names of the step scalars among the inputs; the first are the optimizer's, in its order. */
  readonly scalarInputs: readonly string[]
  /** What is fed to them for a batch (counted from 1) whose optimizer step has the learning rate `lr`. */
  readonly scalarsAt: (batch: number, lr: number) => Map<string, Tensor>
  /** How the loss of mixed precision is scaled; null in float32. */
  readonly lossScale: LossScaleSpec | null
  /** What the data's targets feed: one for each form in which a loss takes a target. */
  readonly targets: readonly TargetInput[]
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
  // What is left uses the statistics that it is given: running ones, or a weight's own, which the graph computes.
  toInferenceForm(training.model)
  const dropouts = replaceDropouts(graph, op, options.dropout)
  poolBeforeRelu(graph, op)

  // 3. Loss, metrics, and the gradient of every parameter.
  const objective = writeObjective(op, training, options.loss)
  const { loss, targets } = objective
  const forward = sortNodes([...graph.nodes, ...op.nodes.splice(0)])
  const scaling = lossScalingOf(state, options)
  const share = op.full(loss.shape, 1 / (options.accumulate ?? 1), loss.dtype)
  const seed = scaling ? op.Mul(scaling.scale, share) : share
  const gradients = pullBack(op, forward, new Map([[loss, seed]]), weights, {
    rules: RULES,
    opset: training.opset,
  })
  const backward = recomputed(op, options.recompute, {
    inputs: [...training.inputs, ...dropouts.map(mask => mask.value)],
    forward,
    backward: op.nodes.splice(0),
  })

  // 4. Running statistics and updates. Updates come last and in forward order: ONNX Runtime walks back from the end, so
  // the last layer is updated, and the memory of its gradient free, before the gradient of the first layer begins.
  const statistics = batchNorms ? batchNorms.write(state) : new FlatLayout([])
  const grads = weights.map(weight => gradients.get(weight)!)
  const update = writeUpdate(state, parameters, weights, grads, { ...options, scaling })

  // 5. One graph of it all.
  const metrics = new Map([...objective.metrics, ...update.metrics])
  for (const [name, value] of metrics) value.name = op.uniqueName(name)
  const inputs = [
    ...training.inputs,
    ...targets.map(({ value }) => value),
    ...update.inputs,
    ...dropouts.map(mask => mask.value),
  ]
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
    state: state.layouts,
    optimizer: update.optimizer,
    scalarInputs: update.inputs.map(value => value.name),
    scalarsAt: update.scalarsAt,
    lossScale: scaling?.spec ?? null,
    targets: targets.map(({ field, value: { name, dtype, shape } }) => ({ field, name, dtype, shape })),
    dropouts,
  }
}

function lossScalingOf(
  state: StateWriter,
  { precision, lossScale = LOSS_SCALE }: ProgramOptions,
): LossScaling | null {
  return precision === 'float16' ? new LossScaling(state, lossScale) : null
}

/** The backward pass, with what it computes again. */
function recomputed(op: Builder, wanted: ProgramOptions['recompute'], step: Step): readonly Node[] {
  if (!wanted) return step.backward
  return recompute(op, step, wanted === true ? {} : wanted)
}

/** Removes initializers that nothing reads any more (running statistics, mostly). */
function dropUnread(graph: Graph): void {
  const read = new Set<Value | null>(graph.nodes.flatMap((node: Node) => node.inputs))
  graph.initializers = graph.initializers.filter(value => read.has(value))
}
