/** Softmax and the normalizations in inference form. */

import { normalizeAxis } from '../../../tensor/shape.ts'
import { UnsupportedError } from '../../../util/errors.ts'
import type { Kernels } from '../kernels.ts'
import { channelsLast, onnxLayout, withLast } from '../layout.ts'
import type { Slot } from '../tape.ts'
import { writer, type WriterContext, type WriterTable } from '../writer.ts'

/** 1 / √(x + epsilon). */
function rsqrt(k: Kernels, x: Slot, epsilon: number): Slot {
  return k.unary('Rsqrt', k.shift(x, epsilon))
}

/** y = x · a + b with a = scale / √(var + epsilon), b = bias − mean · a: per channel, which lies last. */
const BatchNormalization = writer(context => {
  const { k, node } = context
  const x = context.input(0)
  if (node.int('training_mode', 0) !== 0) {
    throw new UnsupportedError(
      `${node.label}: the tfjs engine takes the inference form, found training_mode = 1`,
    )
  }
  const layout = channelsLast(x.rank)
  const [scale, bias, mean, variance] = [1, 2, 3, 4].map(i => context.slot(i)) as [Slot, Slot, Slot, Slot]
  const r = k.mul(scale, rsqrt(k, variance, node.float('epsilon', 1e-5)))
  // The mean is taken off first: what is left is small where it was close to x.
  return context.give(k.add(k.mul(k.sub(k.in(x, layout), mean), r), bias), { layout })
})

interface Standardized {
  readonly y: Slot
  readonly mean: Slot
  readonly rstd: Slot
}

/** (x − mean) / √(variance + epsilon) over axes, in two passes. */
function standardize(k: Kernels, x: Slot, axes: readonly number[], epsilon: number): Standardized {
  const mean = k.mean(x, axes)
  const centered = k.sub(x, mean)
  const rstd = rsqrt(k, k.mean(k.unary('Square', centered), axes), epsilon)
  return { y: k.mul(centered, rstd), mean, rstd }
}

const LayerNormalization = writer(context => {
  const { k, node } = context
  const x = context.input(0)
  const axes = onnxLayout(x.rank).slice(context.axis(-1, x.rank))
  const { y, mean, rstd } = standardize(k, k.onnx(x), axes, node.float('epsilon', 1e-5))
  const scaled = k.mul(y, context.slot(1))
  const bias = context.inputs[2]
  return [
    context.give(bias ? k.add(scaled, k.onnx(bias)) : scaled),
    context.give(mean, { dtype: 'float32' }),
    context.give(rstd, { dtype: 'float32' }),
  ]
})

const RMSNormalization = writer(context => {
  const { k, node } = context
  const x = context.input(0)
  const axes = onnxLayout(x.rank).slice(context.axis(-1, x.rank))
  const slot = k.onnx(x)
  const rstd = rsqrt(k, k.mean(k.unary('Square', slot), axes), node.float('epsilon', 1e-5))
  return context.give(k.mul(k.mul(slot, rstd), context.slot(1)))
})

/** Each group of channels of each sample; scale and bias per channel (opset 21) or per group (opset 18). */
function groupNormalization(context: WriterContext, groups: number) {
  const { k, node } = context
  const x = context.input(0)
  const n = x.shape[0]!
  const grouped = k.reshape(context.slot(0), [n, groups, x.size / (n * groups)])
  const { y } = standardize(k, grouped, [2], node.float('epsilon', 1e-5))
  const units = context.input(1).size
  const [scale, bias] = [1, 2].map(i => k.reshape(context.slot(i), [units, 1])) as [Slot, Slot]
  const lines = k.reshape(y, [n, units, x.size / (n * units)])
  return context.give(k.reshape(k.add(k.mul(lines, scale), bias), x.shape))
}

/** The kernel wants the last axis, and rows. */
const Softmax = writer(context => {
  const { k, node } = context
  const x = context.input(0)
  const axis = normalizeAxis(node.int('axis', -1), x.rank, node.label)
  const layout = x.home.at(-1) === axis ? x.home : withLast(onnxLayout(x.rank), axis)
  const slot = k.in(x, layout)
  const dim = x.shape[axis] ?? 1
  const rows = k.reshape(slot, [x.size / dim, dim])
  return context.give(k.reshape(k.call('Softmax', { logits: rows }, { dim: 1 }), slot.shape), { layout })
})

/** z − log Σ exp(z) with z = x − max. */
const LogSoftmax = writer(context => {
  const { k, node } = context
  const x = context.input(0)
  const at = x.home.indexOf(normalizeAxis(node.int('axis', -1), x.rank, node.label))
  const z = k.sub(x.slot, k.reduce('Max', x.slot, [at]))
  const total = k.unary('Log', k.sum(k.unary('Exp', z), [at]))
  return context.give(k.sub(z, total), { layout: x.home })
})

const LpNormalization = writer(context => {
  const { k, node } = context
  const x = context.input(0)
  const at = x.home.indexOf(context.axis(-1, x.rank))
  const norm =
    node.int('p', 2) === 1
      ? k.sum(k.unary('Abs', x.slot), [at])
      : k.unary('Sqrt', k.sum(k.unary('Square', x.slot), [at]))
  return context.give(k.div(x.slot, norm), { layout: x.home })
})

/** The kernel's alpha multiplies the sum, ONNX's the mean over `size` channels. */
const LRN = writer(context => {
  const { k, node } = context
  const x = context.input(0)
  const size = node.int('size', 1)
  if (size % 2 === 0 || x.rank !== 4) {
    throw new UnsupportedError(
      `${node.label}: the tfjs engine takes an odd size and rank 4, found ${size}, ${x.rank}`,
    )
  }
  const layout = channelsLast(x.rank)
  const attributes = {
    depthRadius: (size - 1) / 2,
    bias: node.float('bias', 1),
    alpha: node.float('alpha', 1e-4) / size,
    beta: node.float('beta', 0.75),
  }
  return context.give(k.unary('LRN', k.in(x, layout), attributes), { layout })
})

export const normalizationWriters: WriterTable = {
  BatchNormalization,
  LayerNormalization,
  RMSNormalization,
  InstanceNormalization: writer(context => groupNormalization(context, context.input(0).shape[1]!)),
  GroupNormalization: writer(context => groupNormalization(context, context.node.int('num_groups', 1))),
  Softmax,
  LogSoftmax,
  LpNormalization,
  LRN,
}
