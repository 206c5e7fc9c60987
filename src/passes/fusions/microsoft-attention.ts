/** Attention as ONNX Runtime's transformer optimiser writes it: com.microsoft Attention and MultiHeadAttention. */

import type { Builder } from '../../ir/builder.ts'
import type { Node } from '../../ir/node.ts'
import type { Value } from '../../ir/value.ts'
import { UnsupportedError } from '../../util/errors.ts'
import type { NodeForm, NodeForms } from '../replace-nodes.ts'
import { causalBias, fromHeads, scaledDotProduct, toHeads } from './scaled-dot-product.ts'

/** What masked scores are lowered by. */
const FILTER = -10000

/** No number is lower, and a score added to it stays finite. */
const LOWEST = -3.4e38

function refusal(node: Node, what: string): UnsupportedError {
  return new UnsupportedError(`gradient: ${node.label} ${what}`, {
    cure: 'train the model as it was before ONNX Runtime optimised it',
  })
}

interface Heads {
  /** [B, N, S, D] */
  readonly q: Value
  readonly k: Value
  readonly v: Value
  readonly mask: Value | null
  readonly bias: Value | null
}

function attend(op: Builder, node: Node, { q, k, v, mask, bias }: Heads): Value {
  const [steps, length] = [q.shape[2]!, k.shape[2]!]
  const causal = node.int('unidirectional', 0) !== 0
  const given = node.float('scale', 0)
  const y = scaledDotProduct(op, {
    ...{ q, k, v },
    scale: given === 0 ? 1 / Math.sqrt(q.shape[3]!) : given,
    biases: [
      ...(causal ? [causalBias(op, q, { steps, length, offset: length - steps }, LOWEST)] : []),
      ...(mask ? [maskBias(op, node, mask, q, length)] : []),
      ...(bias ? [bias] : []),
    ],
  })
  return fromHeads(op, y)
}

/** Masks of ones and zeros for keys [B, L] or for scores [B, S, L], or the number of keys [B]. */
function maskBias(op: Builder, node: Node, mask: Value, q: Value, length: number): Value {
  const [batch, , steps] = q.shape as [number, number, number]
  const positions = () =>
    op.int32s(
      [1, length],
      Array.from({ length }, (_, i) => i),
    )
  const shape = mask.shape.join()
  let kept: Value
  if (shape === `${batch},${length}`) kept = op.Reshape(op.Cast(mask, 'bool'), [batch, 1, 1, length])
  else if (shape === `${batch},${steps},${length}`)
    kept = op.Reshape(op.Cast(mask, 'bool'), [batch, 1, steps, length])
  else if (shape === `${batch}`)
    kept = op.Reshape(op.Less(positions(), op.Reshape(mask, [batch, 1])), [batch, 1, 1, length])
  else throw refusal(node, `has a mask of shape [${shape}], expected [B], [B,L] or [B,S,L]`)
  const filter = op.scalarLike(q, node.float('mask_filter_value', FILTER))
  return op.Where(kept, op.scalarLike(q, 0), filter)
}

/** One product gives queries, keys and values side by side. */
const attention: NodeForm = (op, node, reads) => {
  if (node.inputs[4] || reads(1)) throw refusal(node, 'keeps keys and values of earlier steps')
  if (node.int('do_rotary', 0) !== 0) throw refusal(node, 'rotates its queries and keys (do_rotary)')
  const [x, weight, bias] = [node.input(0), node.input(1), node.inputs[2] ?? null]
  const [batch, steps, width] = x.shape as [number, number, number]
  const total = weight.shape[1]!
  const sizes = node.ints('qkv_hidden_sizes', undefined) ?? [total / 3, total / 3, total / 3]
  const rows = op.Gemm(op.Reshape(x, [batch * steps, width]), weight, bias ? { c: bias } : {})
  const parts = op.Split(op.Reshape(rows, [batch, steps, total]), sizes, 2)
  const [q, k, v] = parts.map(part => toHeads(op, part, node.int('num_heads', 1))) as [Value, Value, Value]
  return attend(op, node, { q, k, v, mask: node.inputs[3] ?? null, bias: node.inputs[5] ?? null })
}

/** Queries, keys and values are inputs; keys and values may have four axes already. */
const multiHead: NodeForm = (op, node, reads) => {
  if ([6, 7, 8, 9].some(index => node.inputs[index]) || reads(1) || reads(2) || reads(3)) {
    throw refusal(node, 'keeps keys and values of earlier steps, or gives its scores')
  }
  const given = [0, 1, 2].map(index => node.inputs[index] ?? null)
  if (given.some(value => value === null || value.rank > 4))
    throw refusal(node, 'has packed queries, keys or values')
  const bias = node.inputs[3] ?? null
  const heads = node.int('num_heads', 1)
  const [query, key, value] = given as [Value, Value, Value]
  const width = query.shape[2]!
  const last = bias ? bias.shape[0]! - 2 * width : 0
  const biases = bias ? op.Split(bias, [width, width, last], 0) : []
  const [q, k, v] = [query, key, value].map((x, i) => {
    const own = biases[i]
    return toHeads(op, own && x.rank === 3 ? op.Add(x, own) : x, heads)
  }) as [Value, Value, Value]
  return attend(op, node, { q, k, v, mask: node.inputs[4] ?? null, bias: node.inputs[5] ?? null })
}

export const microsoftAttentionFusions: NodeForms = {
  'com.microsoft.Attention': [attention],
  'com.microsoft.MultiHeadAttention': [multiHead],
}
