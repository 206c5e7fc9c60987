/** Operators that work differently while training: batch normalization and dropout. */

import { toTrainingBatchNorm, type TrainingBatchNorm } from '../autodiff/training-batch-norm.ts'
import type { Builder } from '../ir/builder.ts'
import type { Graph } from '../ir/graph.ts'
import { ONNX_DOMAIN, type Node } from '../ir/node.ts'
import { Value } from '../ir/value.ts'
import { sourceOf } from '../passes/index.ts'
import { sizeOf, type Shape } from '../tensor/shape.ts'
import { Tensor } from '../tensor/tensor.ts'
import { InputError, UnsupportedError } from '../util/errors.ts'
import { Random } from '../util/random.ts'
import { FlatLayout } from './flat.ts'
import type { TrainingGraph } from './prepare.ts'
import { STATISTICS, type StateWriter } from './state-writer.ts'

/** Batch norms in training form, whose running statistics are still to be written. */
export interface ReplacedBatchNorms {
  /** Writes next = running · momentum + batch · (1 - momentum) for all of them as one state vector. */
  write(state: StateWriter): FlatLayout
}

/** Replaces every BatchNormalization node by the composite that normalises with the statistics of the batch. */
export function replaceBatchNorms(training: TrainingGraph, op: Builder): ReplacedBatchNorms {
  const { graph } = training.model
  const replaced = training.batchNorms.map(site => toTrainingBatchNorm(site.node, op))
  const gone = new Set<Node>(training.batchNorms.map(site => site.node))
  graph.nodes = graph.nodes.filter(node => !gone.has(node))
  for (const { node, count } of replaced) {
    if (count < 2)
      throw new InputError(`${node.label}: one value per channel in a batch has no variance`, {
        cure: 'use a larger --batch-size, or --bn frozen',
      })
  }
  return { write: state => writeStatistics(training, replaced, state) }
}

function writeStatistics(
  training: TrainingGraph,
  replaced: readonly TrainingBatchNorm[],
  state: StateWriter,
): FlatLayout {
  const { op } = state
  const weights = [
    ...new Set(
      replaced.flatMap(({ runningMean, runningVariance }) => [
        sourceOf(runningMean),
        sourceOf(runningVariance),
      ]),
    ),
  ]
  const layout = new FlatLayout(
    weights.map(value => ({ name: training.statistics.get(value)?.name ?? value.name, shape: value.shape })),
  )
  if (layout.length === 0) return layout
  op.within(STATISTICS, () => {
    const running = state.declare(STATISTICS, layout)
    const next = new Map(weights.map((value, i) => [value, running[i]!]))
    // One after the other, as PyTorch does: a module that is used twice moves its statistics twice.
    const move = (weight: Value, batch: Value, momentum: number, correction: number) => {
      const kept = op.Mul(next.get(weight)!, op.scalar(momentum))
      next.set(weight, op.Add(kept, op.Mul(batch, op.scalar((1 - momentum) * correction))))
    }
    for (const { mean, variance, runningMean, runningVariance, momentum, count } of replaced) {
      move(sourceOf(runningMean), mean, momentum, 1)
      // PyTorch keeps the unbiased variance.
      move(sourceOf(runningVariance), variance, momentum, count / (count - 1))
    }
    weights.forEach((value, i) => state.next(STATISTICS, i, next.get(value)!))
  })
  return layout
}

/** A step input that a Dropout node became. */
export interface DropoutMask {
  readonly value: Value
  readonly ratio: number
  readonly shape: Shape
}

/** Dropout becomes a multiplication with a mask that is fed at each step, or nothing at all when it is off. */
export function replaceDropouts(graph: Graph, op: Builder, active: boolean): DropoutMask[] {
  const masks: DropoutMask[] = []
  graph.nodes = graph.nodes.map(node => {
    if (node.opType !== 'Dropout' || node.domain !== ONNX_DOMAIN) return node
    const [x, y] = [node.input(0), node.output(0)]
    const ratio = ratioOf(node)
    if (!active || ratio === 0) return replaceNode(op, y, () => op.Identity(x))
    const value = Value.typed(op.uniqueName(`dropout/${y.name}`), 'float32', x.shape)
    masks.push({ value, ratio, shape: x.shape })
    return replaceNode(op, y, () => op.Mul(x, value))
  })
  return masks
}

/**
 * The mask of a step: 0 with probability `ratio`, else 1 / (1 - ratio), so that the expectation stays (Srivastava et al.
 * 2014, in the inverted form that frameworks use).
 */
export function drawMask(mask: DropoutMask, seed: number, step: number, index: number): Tensor {
  const random = Random.of(seed, 0x64726f70, step, index)
  const kept = 1 / (1 - mask.ratio)
  const values = Float32Array.from({ length: sizeOf(mask.shape) }, () =>
    random.float() < mask.ratio ? 0 : kept,
  )
  return Tensor.of('float32', mask.shape, values)
}

function ratioOf(node: Node): number {
  const given = node.inputs[1]
  const tensor = given ? sourceOf(given).tensor : null
  if (given && !tensor?.resident) throw new UnsupportedError(`${node.label}: its ratio is not a constant`)
  const ratio = tensor ? tensor.toNumbers()[0]! : 0.5
  if (!(ratio >= 0 && ratio < 1))
    throw new InputError(`${node.label}: ratio should be in [0, 1), found ${ratio}`)
  return ratio
}

/** One node written by `write`, whose output is the existing value `y`. */
function replaceNode(op: Builder, y: Value, write: () => Value): Node {
  const node = write().producer!
  op.nodes.splice(op.nodes.indexOf(node), 1)
  node.outputs[0] = y
  y.producer = node
  return node
}
