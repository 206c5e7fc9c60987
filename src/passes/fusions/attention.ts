/** The standard operator of attention (ONNX: Attention-23). */

import type { Builder } from '../../ir/builder.ts'
import type { Node } from '../../ir/node.ts'
import type { Value } from '../../ir/value.ts'
import { UnsupportedError } from '../../util/errors.ts'
import type { NodeForm, NodeForms } from '../replace-nodes.ts'
import { causalBias, fromHeads, scaledDotProduct, toHeads } from './scaled-dot-product.ts'

/** Q, K, V as [B, heads, S, D], or with heads inside the last axis; keys and values of earlier steps come first. */
const attention: NodeForm = (op, node, reads) => {
  if (reads(3)) throw new UnsupportedError(`gradient: the scores of ${node.label} (output 3) are used`)
  if (node.inputs[6])
    throw new UnsupportedError(`gradient: ${node.label} has nonpad_kv_seqlen, expected a mask`)
  const heads = node.int('q_num_heads', 0)
  const shared = node.int('kv_num_heads', heads)
  const q = toHeads(op, node.input(0), heads)
  const [key, value] = [1, 2].map(index => {
    const here = toHeads(op, node.input(index), shared)
    const past = node.inputs[index + 3]
    return past ? op.Concat([past, here], 2) : here
  }) as [Value, Value]
  const width = q.shape[3]!
  const y = scaledDotProduct(op, {
    ...{ q, k: key, v: value },
    scale: node.float('scale', 1 / Math.sqrt(width)),
    biases: [...causal(op, node, q, key), ...masks(op, node, q)],
    softcap: node.float('softcap', 0),
  })
  return [node.input(0).rank === 4 ? y : fromHeads(op, y), key, value]
}

function causal(op: Builder, node: Node, q: Value, key: Value): Value[] {
  if (node.int('is_causal', 0) === 0) return []
  const [steps, length] = [q.shape[2]!, key.shape[2]!]
  const offset = node.inputs[4]?.shape[2] ?? 0
  return [causalBias(op, q, { steps, length, offset }, -Infinity)]
}

/** Truth means "may be attended to"; numbers are added. */
function masks(op: Builder, node: Node, q: Value): Value[] {
  const mask = node.inputs[3]
  if (!mask) return []
  if (mask.dtype !== 'bool') return [mask]
  return [op.Where(mask, op.scalarLike(q, 0), op.scalarLike(q, -Infinity))]
}

export const attentionFusions: NodeForms = { Attention: [attention] }
