/** Words that several gradient rules share. */

import type { Builder } from '../../ir/builder.ts'
import type { Value } from '../../ir/value.ts'
import type { Shape } from '../../tensor/shape.ts'

/** `dy` where the condition holds, else zero: how all piecewise-linear operators pass their gradient. */
export function gate(op: Builder, condition: Value, dy: Value): Value {
  return op.Where(condition, dy, op.scalarLike(dy, 0))
}

/** `k · x`, without a node where k is 1. */
export function scale(op: Builder, x: Value, k: number): Value {
  return k === 1 ? x : op.Mul(x, op.scalarLike(x, k))
}

/** `x + k`. */
export function shift(op: Builder, x: Value, k: number): Value {
  return k === 0 ? x : op.Add(x, op.scalarLike(x, k))
}

/** `1 - x`. */
export function oneMinus(op: Builder, x: Value): Value {
  return op.Sub(op.scalarLike(x, 1), x)
}

export function square(op: Builder, x: Value): Value {
  return op.Mul(x, x)
}

/** x's sign with 0 at 0. Not the operator Sign, which WebGPU lacks. */
export function sign(op: Builder, x: Value): Value {
  const [zero, one, minusOne] = [0, 1, -1].map(k => op.scalarLike(x, k))
  return op.Where(op.Greater(x, zero!), one!, op.Where(op.Less(x, zero!), minusOne!, zero!))
}

/** A one-operand operator that the tape has no method for. */
export function unary(op: Builder, opType: string, x: Value): Value {
  return op.one(opType, [x], { shape: x.shape })
}

/** Zeros of the shape and type of `like`. */
export function zerosLike(op: Builder, like: Value): Value {
  return op.full(like.shape, 0, like.dtype)
}

/** `[0, 1, ..., length - 1]`. */
export function range(length: number): number[] {
  return Array.from({ length }, (_, i) => i)
}

/** The shape with the named axes set to one. */
export function keepShape(shape: Shape, axes: readonly number[]): number[] {
  return shape.map((dim, i) => (axes.includes(i) ? 1 : dim))
}
