/** softmax(cap(Q Kᵀ · scale) + bias) V, which every operator of attention comes down to. */

import type { Builder } from '../../ir/builder.ts'
import type { Value } from '../../ir/value.ts'

export interface ScaledDotProduct {
  /** [B, N, S, D] */
  readonly q: Value
  /** [B, M, L, D]: N/M heads of q share one of k and v. */
  readonly k: Value
  /** [B, M, L, E] */
  readonly v: Value
  readonly scale: number
  /** Added to the scores [B, N, S, L] one after the other; each broadcasts to them. */
  readonly biases: readonly Value[]
  /** c · tanh(scores / c) before the biases, as ONNX Runtime has it; 0 for none. */
  readonly softcap?: number
}

/** The result, [B, N, S, E]. */
export function scaledDotProduct(
  op: Builder,
  { q, k, v, scale, biases, softcap = 0 }: ScaledDotProduct,
): Value {
  const [batch, heads, steps] = q.shape as [number, number, number]
  const groups = heads / k.shape[1]!
  const [length, width] = [k.shape[2]!, v.shape[3]!]
  // Heads that share keys: their rows of queries stand below each other in one product.
  const shared = (x: Value) =>
    groups === 1 ? x : op.Reshape(x, [batch, k.shape[1]!, groups * steps, x.shape[3]!])
  const scaled = scale === 1 ? q : op.Mul(q, op.scalarLike(q, scale))
  const product = op.MatMul(shared(scaled), op.Transpose(k, [0, 1, 3, 2]))
  const raw = op.Reshape(product, [batch, heads, steps, length])
  const capped = softcap === 0 ? raw : cut(op, raw, softcap)
  const scores = biases.reduce((sum, bias) => op.Add(sum, bias), capped)
  return op.Reshape(op.MatMul(shared(op.Softmax(scores, -1)), v), [batch, heads, steps, width])
}

function cut(op: Builder, x: Value, bound: number): Value {
  const cap = op.scalarLike(x, bound)
  return op.Mul(op.Tanh(op.Div(x, cap)), cap)
}

/** [B, S, N·D] -> [B, N, S, D]; four axes are there already. */
export function toHeads(op: Builder, x: Value, heads: number): Value {
  if (x.rank === 4) return x
  const [batch, steps, width] = x.shape as [number, number, number]
  return op.Transpose(op.Reshape(x, [batch, steps, heads, width / heads]), [0, 2, 1, 3])
}

/** [B, N, S, D] -> [B, S, N·D]. */
export function fromHeads(op: Builder, x: Value): Value {
  const [batch, heads, steps, width] = x.shape as [number, number, number, number]
  return op.Reshape(op.Transpose(x, [0, 2, 1, 3]), [batch, steps, heads * width])
}

/** [S, L]: zero where key j is not behind query i (j ≤ i + offset), else `masked`. */
export function causalBias(
  op: Builder,
  like: Value,
  size: { steps: number; length: number; offset: number },
  masked: number,
): Value {
  const column = op.int32s(
    [size.steps, 1],
    Array.from({ length: size.steps }, (_, i) => i + size.offset),
  )
  const row = op.int32s(
    [1, size.length],
    Array.from({ length: size.length }, (_, j) => j),
  )
  return op.Where(op.LessOrEqual(row, column), op.scalarLike(like, 0), op.scalarLike(like, masked))
}
