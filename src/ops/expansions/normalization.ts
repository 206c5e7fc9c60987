/** Normalizations over neighbours and over stated axes. */

import type { Value } from '../../ir/value.ts'
import type { Node } from '../../ir/node.ts'
import { normalizeAxis } from '../../tensor/shape.ts'
import { applyAlongAxis, axisMatrix, type AxisMatrix } from '../axis-matrix.ts'
import type { Expansion } from '../expansion.ts'

/** What ONNX adds to the deviation (not to the variance) in MeanVarianceNormalization. */
export const DEVIATION_EPSILON = 1e-9

/** The axes of a MeanVarianceNormalization node; by default each channel has its own statistics. */
export function varianceAxes(node: Node): number[] {
  const { rank } = node.input(0)
  return node.ints('axes', [0, 2, 3]).map(axis => normalizeAxis(axis, rank, node.label))
}

/** (x − mean) / (√variance + ε). */
export const meanVarianceNormalization: Expansion = (op, node) => {
  const x = node.input(0)
  const axes = varianceAxes(node)
  const centered = op.Sub(x, op.ReduceMean(x, axes))
  const deviation = op.Sqrt(op.ReduceMean(op.Mul(centered, centered), axes))
  return op.Div(centered, op.Add(deviation, op.scalarLike(x, DEVIATION_EPSILON)))
}

/** The constants of an LRN node. */
export interface LrnTerms {
  /** alpha / size */
  readonly alpha: number
  readonly beta: number
  readonly bias: number
  /** Which channels' squares each channel sums: ⌊(size−1)/2⌋ before it, ⌈(size−1)/2⌉ behind it. */
  readonly window: AxisMatrix
}

export function lrnTerms(node: Node): LrnTerms {
  const size = node.int('size', 1)
  const channels = node.input(0).shape[1]!
  const window = axisMatrix(channels, channels)
  for (let c = 0; c < channels; c++) {
    const from = Math.max(0, c - Math.floor((size - 1) / 2))
    const to = Math.min(channels - 1, c + Math.ceil((size - 1) / 2))
    window.data.fill(1, c * channels + from, c * channels + to + 1)
  }
  return {
    alpha: node.float('alpha', 1e-4) / size,
    beta: node.float('beta', 0.75),
    bias: node.float('bias', 1),
    window,
  }
}

/** x / (bias + alpha/size · Σ x²)^beta, the sum over neighbouring channels. */
export const lrn: Expansion = (op, node) => {
  const x: Value = node.input(0)
  const { alpha, beta, bias, window } = lrnTerms(node)
  const sums = applyAlongAxis(op, op.Mul(x, x), 1, window)
  const base = op.Add(op.Mul(sums, op.scalarLike(x, alpha)), op.scalarLike(x, bias))
  return op.Mul(x, op.Pow(base, op.scalarLike(x, -beta)))
}
