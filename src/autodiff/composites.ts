/**
 * Composite operators: what rules emit where standard ONNX has no one operator. Each engine's lowering replaces them
 * before execution. Every composite is defined here, once: its formula, its attributes, the shapes of its outputs.
 *
 * Outputs may be absent (null) where nobody needs them; a lowering must not compute those.
 */

import { float } from '../ir/attribute.ts'
import type { Attributes, Builder } from '../ir/builder.ts'
import type { Node } from '../ir/node.ts'
import type { Value } from '../ir/value.ts'
import { windowAttributes, type Window } from '../ops/window.ts'
import type { Shape } from '../tensor/shape.ts'
import { COMPOSITE_DOMAIN } from './rule.ts'

export const COMPOSITES = [
  'ConvInputGrad',
  'ConvWeightGrad',
  'MaxPoolGrad',
  'AveragePoolGrad',
  'BatchNormTrain',
  'BatchNormTrainGrad',
  'LayerNormGrad',
  'SoftmaxCrossEntropy',
  'SigmoidCrossEntropy',
  'After',
] as const

export type CompositeName = (typeof COMPOSITES)[number]

/** The key of a composite's rule in a rule table. */
export function compositeKey(name: CompositeName): string {
  return `${COMPOSITE_DOMAIN}.${name}`
}

/** Whether a node is a composite operator. */
export function isComposite(node: Node): boolean {
  return node.domain === COMPOSITE_DOMAIN
}

/**
 * Gradient of a convolution by its input.
 *
 *     dx[n, c, i] = Σ over m, k, o with o·stride + k·dilation − begin = i of dy[n, m, o] · w[m, c, k]
 *
 * dy [N, M, o...], w [M, C/group, k...] -> dx [N, C, i...]; m runs over the outputs of c's group. Attributes:
 * kernel_shape, strides, dilations, pads (all begins, then all ends), group. Inputs behind the last window get 0.
 */
export function convInputGrad(
  op: Builder,
  dy: Value,
  w: Value,
  x: Shape,
  window: Window,
  group: number,
): Value {
  return composite(op, 'ConvInputGrad', [dy, w], [x], { ...windowAttributes(window), group })[0]!
}

/**
 * Gradient of a convolution by its weight.
 *
 *     dw[m, c, k] = Σ over n, o of dy[n, m, o] · x[n, g·C/group + c, o·stride + k·dilation − begin]
 *
 * x [N, C, i...], dy [N, M, o...] -> dw [M, C/group, k...], where g is m's group; x is 0 outside its shape. Attributes
 * as in ConvInputGrad. In mixed precision x and dy are float16 and dw is float32, in which the sum over n is made.
 */
export function convWeightGrad(op: Builder, x: Value, dy: Value, window: Window, group: number): Value {
  const dw = [dy.shape[1]!, x.shape[1]! / group, ...window.map(axis => axis.kernel)]
  return composite(op, 'ConvWeightGrad', [x, dy], [dw], { ...windowAttributes(window), group })[0]!
}

/**
 * Gradient of MaxPool: each dy goes to the largest element of its window, to the first one in row-major order of the
 * window on ties (as PyTorch).
 *
 *     dx[n, c, i] = Σ over windows o whose first maximum is at i of dy[n, c, o]
 *
 * dy, x, y -> dx of x's shape; y is the output of the MaxPool node over x, so that a lowering can ask that node for its
 * Indices. Attributes: kernel_shape, strides, dilations, pads (resolved; ceil_mode shows in y's shape).
 */
export function maxPoolGrad(op: Builder, dy: Value, x: Value, y: Value, window: Window): Value {
  return composite(op, 'MaxPoolGrad', [dy, x, y], [x.shape], windowAttributes(window))[0]!
}

/**
 * Gradient of AveragePool.
 *
 *     dx[n, c, i] = Σ over windows o that hold i of dy[n, c, o] / count(o)
 *
 * dy -> dx of the given shape; count is the number of the window's elements inside x, or inside x and its stated padding
 * if `count_include_pad` is 1. Attributes: kernel_shape, strides, dilations, pads (resolved), count_include_pad.
 */
export function averagePoolGrad(
  op: Builder,
  dy: Value,
  x: Shape,
  window: Window,
  countIncludePad: boolean,
): Value {
  const attributes = { ...windowAttributes(window), count_include_pad: Number(countIncludePad) }
  return composite(op, 'AveragePoolGrad', [dy], [x], attributes)[0]!
}

/** The outputs of BatchNormTrain. */
export interface BatchNormTrainOutputs {
  readonly y: Value
  readonly mean: Value
  readonly variance: Value
}

/**
 * Batch normalization with the statistics of the batch.
 *
 *     mean[c] = mean over n, i of x[n, c, i]      variance[c] = mean over n, i of (x[n, c, i] − mean[c])²
 *     y = (x − mean) / √(variance + epsilon) · scale + bias
 *
 * x [N, C, i...], scale [C], bias [C] -> y of x's shape, mean [C], variance [C] (the population variance: running
 * statistics as PyTorch keeps them multiply it by n/(n−1)). Attribute: epsilon. Statistics carry no gradient of their
 * own. Where y is computed again, mean and variance are inputs 3 and 4, and y is the only output. In mixed
 * precision x and y are float16, the others float32.
 */
export function batchNormTrain(
  op: Builder,
  inputs: { x: Value; scale: Value; bias: Value },
  epsilon: number,
): BatchNormTrainOutputs {
  const { x, scale, bias } = inputs
  const shapes = [x.shape, scale.shape, scale.shape]
  const outputs = composite(op, 'BatchNormTrain', [x, scale, bias], shapes, { epsilon: float(epsilon) })
  return { y: outputs[0]!, mean: outputs[1]!, variance: outputs[2]! }
}

/**
 * Gradient of BatchNormTrain. With x̂ = (x − mean) / √(variance + epsilon) and n = elements of x per channel:
 *
 *     dbias = Σ dy      dscale = Σ dy · x̂      dx = scale / √(variance + epsilon) · (dy − dbias/n − x̂ · dscale/n)
 *
 * dy, x, scale, mean, variance -> dx, dscale, dbias; each may be absent. Attribute: epsilon. In mixed precision dy, x and
 * dx are float16, the others float32.
 */
export function batchNormTrainGrad(
  op: Builder,
  inputs: { dy: Value; x: Value; scale: Value; mean: Value; variance: Value },
  epsilon: number,
  needs: readonly [dx: boolean, dscale: boolean, dbias: boolean],
): (Value | null)[] {
  const { dy, x, scale, mean, variance } = inputs
  const shapes = [x.shape, scale.shape, scale.shape].map((shape, i) => (needs[i] ? shape : null))
  return composite(op, 'BatchNormTrainGrad', [dy, x, scale, mean, variance], shapes, {
    epsilon: float(epsilon),
  })
}

/**
 * Gradient of LayerNormalization over the axes from `axis` on. With x̂ = (x − mean) / √(variance + epsilon), all means
 * over those axes, and g = dy · scale:
 *
 *     dbias = Σ dy      dscale = Σ dy · x̂      dx = (g − mean(g) − x̂ · mean(g · x̂)) / √(variance + epsilon)
 *
 * dy, x, scale, y -> dx, dscale, dbias; each may be absent. The sums reduce to the shape of scale. y is the output of
 * the LayerNormalization node over x, so that a lowering can ask that node for Mean and InvStdDev. Attributes: axis
 * (not negative), epsilon.
 */
export function layerNormGrad(
  op: Builder,
  inputs: { dy: Value; x: Value; scale: Value; y: Value; bias: Shape },
  attributes: { axis: number; epsilon: number },
  needs: readonly [dx: boolean, dscale: boolean, dbias: boolean],
): (Value | null)[] {
  const { dy, x, scale, y, bias } = inputs
  const shapes = [x.shape, scale.shape, bias].map((shape, i) => (needs[i] ? shape : null))
  const { axis, epsilon } = attributes
  return composite(op, 'LayerNormGrad', [dy, x, scale, y], shapes, { axis, epsilon: float(epsilon) })
}

/**
 * Cross-entropy between a distribution and softmax(logits) along `axis`.
 *
 *     log_prob = logits − log Σ exp(logits)      loss = − Σ over everything of target · log_prob
 *
 * logits, target (same shape, weights and the divisor of a mean are inside it; its rows need not add up to one) -> loss
 * (a scalar), log_prob. Attribute: axis. Gradient by logits: (softmax(logits) · Σ target along axis − target) · dloss.
 */
export function softmaxCrossEntropy(op: Builder, logits: Value, target: Value, axis: number): Value {
  return composite(op, 'SoftmaxCrossEntropy', [logits, target], [[], logits.shape], { axis })[0]!
}

/**
 * Element-wise cross-entropy between a probability and sigmoid(x).
 *
 *     loss = −t · log σ(x) − (1 − t) · log(1 − σ(x)) = max(x, 0) − x·t + log(1 + exp(−|x|))
 *
 * x, t (same shape) -> loss of that shape. Gradient by x: (σ(x) − t) · dloss, also at x = 0, where the terms of the
 * stable form have kinks.
 */
export function sigmoidCrossEntropy(op: Builder, x: Value, t: Value): Value {
  return composite(op, 'SigmoidCrossEntropy', [x, t], [x.shape])[0]!
}

/**
 * x as it is, but not before `signal` is known: what is computed from it stays apart from what is computed from x, and
 * waits. x, signal (any shape, floating-point, one element or more) -> y of x's shape.
 */
export function after(op: Builder, x: Value, signal: Value): Value {
  return composite(op, 'After', [x, signal], [x.shape])[0]!
}

/** Writes a composite node; a null shape makes an absent output. */
function composite(
  op: Builder,
  name: CompositeName,
  inputs: readonly Value[],
  shapes: readonly (Shape | null)[],
  attributes: Attributes = {},
): (Value | null)[] {
  const specs = shapes.map(shape => ({ shape: shape ?? [] }))
  const node = op.emit(name, inputs, specs, attributes, COMPOSITE_DOMAIN)[0]!.producer!
  node.outputs = node.outputs.map((output, i) => (shapes[i] ? output : null))
  return node.outputs
}
