/** Normalizing operators without a WebGPU kernel, or with one that overflows. */

import { float } from '../../../ir/attribute.ts'
import type { Builder } from '../../../ir/builder.ts'
import type { Node } from '../../../ir/node.ts'
import type { Value } from '../../../ir/value.ts'
import { tensorOf, type NodeForm, type NodeForms } from '../../../passes/index.ts'
import { normalizeAxis, sizeOf } from '../../../tensor/shape.ts'
import { Tensor } from '../../../tensor/tensor.ts'

/** z − log Σ exp(z) with z = x − max. */
const logSoftmax: NodeForm = (op, node) => {
  const x = node.input(0)
  const axis = normalizeAxis(node.int('axis', -1), x.rank, node.label)
  const z = op.Sub(x, op.ReduceMax(x, [axis]))
  return op.Sub(z, op.Log(op.ReduceSum(op.Exp(z), [axis])))
}

const LOWEST_FLOAT32 = -3.4028234663852886e38

/**
 * max + log Σ exp(x − max): the kernel adds up exp(x), which is infinite from x = 89 on. A maximum of −∞ is lifted to the
 * lowest number, so that nothing but −∞ comes of it.
 */
const reduceLogSumExp: NodeForm = (op, node) => {
  const x = node.input(0)
  const axes = reducedAxes(node)
  if (axes === null || axes.length === 0 || x.dtype !== 'float32') return null
  const max = op.Max(op.ReduceMax(x, axes), op.scalarLike(x, LOWEST_FLOAT32))
  const y = op.Add(max, op.Log(op.ReduceSum(op.Exp(op.Sub(x, max)), axes)))
  return op.Reshape(y, node.output(0).shape)
}

/** A reduction over no axes is what it does to each element; the kernels give the element itself. */
const overNothing =
  (each: (op: Builder, x: Value) => Value): NodeForm =>
  (op, node) =>
    reducedAxes(node)?.length === 0 ? each(op, node.input(0)) : null

/** The axes that a reduction reduces; null where they are not constant. */
function reducedAxes(node: Node): number[] | null {
  const { rank } = node.input(0)
  const given = node.inputs[1]
  const tensor = given ? tensorOf(given) : null
  if (given && !tensor?.resident) return null
  const axes = tensor?.toNumbers() ?? []
  if (axes.length > 0) return axes.map(axis => normalizeAxis(axis, rank, node.label))
  return node.int('noop_with_empty_axes', 0) === 0 ? Array.from({ length: rank }, (_, i) => i) : []
}

/** The standard's default. */
const EPSILON = 1e-5

/** Each group as one channel of an InstanceNormalization; scale and bias, per channel or per group, afterwards. */
const groupNormalization: NodeForm = (op, node) => {
  const [x, scale, bias] = [node.input(0), node.input(1), node.input(2)]
  const groups = node.int('num_groups', 0)
  const n = x.shape[0]!
  const size = sizeOf(x.shape)
  const grouped = op.Reshape(x, [n, groups, size / (n * groups)])
  const [ones, zeros] = [1, 0].map(value =>
    op.constant(Tensor.of(x.dtype, [groups], new Array<number>(groups).fill(value))),
  )
  const epsilon = float(node.float('epsilon', EPSILON))
  const inputs = [grouped, ones!, zeros!]
  const xhat = op.one('InstanceNormalization', inputs, { shape: grouped.shape }, { epsilon })
  const units = scale.shape[0]!
  const column = [units, 1]
  const scaled = op.Mul(op.Reshape(xhat, [n, units, size / (n * units)]), op.Reshape(scale, column))
  return op.Reshape(op.Add(scaled, op.Reshape(bias, column)), x.shape)
}

/**
 * The kernel writes ε into a shader that ONNX Runtime (1.30) keeps under a key without it: the second ε of a process gets the
 * first one's shader. So all have one ε: x·s with s² = 1e-5 / ε has the same normalized values as x with ε.
 */
const instanceNormalization: NodeForm = (op, node) => {
  const epsilon = node.float('epsilon', EPSILON)
  if (epsilon <= 0 || Math.fround(epsilon) === Math.fround(EPSILON)) return null
  const [x, scale, bias] = [node.input(0), node.input(1), node.input(2)]
  const scaled = op.Mul(x, op.scalarLike(x, Math.sqrt(EPSILON / epsilon)))
  return op.one('InstanceNormalization', [scaled, scale, bias], { shape: x.shape })
}

/** Scale and bias of the full shape of the normalized axes: the kernel does not broadcast them. */
const layerNormalizationExpanded: NodeForm = (op, node) => {
  const [x, scale, bias] = [node.input(0), node.input(1), node.inputs[2] ?? null]
  const full = x.shape.slice(normalizeAxis(node.int('axis', -1), x.rank, node.label))
  const isFull = (value: Value | null) => value === null || value.shape.join() === full.join()
  if (isFull(scale) && isFull(bias)) return null
  const inputs = [x, op.Expand(scale, full), bias && op.Expand(bias, full)]
  const outputs = node.outputs.map(output => ({
    shape: output?.shape ?? [],
    dtype: output?.dtype ?? x.dtype,
  }))
  const values = op.emit('LayerNormalization', inputs, outputs)
  const made = values[0]!.producer!
  for (const [name, attribute] of node.attributes) made.attributes.set(name, attribute)
  made.outputs = made.outputs.map((value, i) => (node.outputs[i] ? value : null))
  return values
}

export const normalizationForms: NodeForms = {
  InstanceNormalization: [instanceNormalization],
  LayerNormalization: [layerNormalizationExpanded],
  LogSoftmax: [logSoftmax],
  ReduceLogSumExp: [reduceLogSumExp],
  ReduceSumSquare: [overNothing((op, x) => op.Mul(x, x))],
  ReduceLogSum: [overNothing((op, x) => op.Log(x))],
  ReduceL1: [overNothing((op, x) => op.Abs(x))],
  ReduceL2: [overNothing((op, x) => op.Abs(x))],
  GroupNormalization: [groupNormalization],
}
