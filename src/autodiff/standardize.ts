/** Standardization x̂ = (x − mean) / √(variance + epsilon) over some axes: the core of every normalization. */

import type { Builder } from '../ir/builder.ts'
import type { Value } from '../ir/value.ts'

export interface Standardized {
  readonly xhat: Value
  /** 1 / √(variance + epsilon), with the axes kept. */
  readonly rstd: Value
}

/** The axes of the statistics of a batch: all but that of the channels. */
export function batchAxes(x: Value): number[] {
  return x.shape.map((_, i) => i).filter(axis => axis !== 1)
}

/** 1 / √(x + epsilon). */
export function rsqrt(op: Builder, x: Value, epsilon: number): Value {
  return op.Reciprocal(op.Sqrt(op.Add(x, op.scalarLike(x, epsilon))))
}

/** Standardizes over `axes` with the population variance, in two passes: mean first, then the squares of what is left. */
export function standardize(op: Builder, x: Value, axes: readonly number[], epsilon: number): Standardized {
  const centered = op.Sub(x, op.ReduceMean(x, axes))
  const rstd = rsqrt(op, op.ReduceMean(op.Mul(centered, centered), axes), epsilon)
  return { xhat: op.Mul(centered, rstd), rstd }
}

/** Given g, the gradient of x̂: dx = rstd · (g − mean(g) − x̂ · mean(g · x̂)), means over the same axes. */
export function standardizeGrad(
  op: Builder,
  g: Value,
  { xhat, rstd }: Standardized,
  axes: readonly number[],
): Value {
  const centered = op.Sub(g, op.ReduceMean(g, axes))
  return op.Mul(rstd, op.Sub(centered, op.Mul(xhat, op.ReduceMean(op.Mul(g, xhat), axes))))
}
