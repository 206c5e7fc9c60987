/** Rotary position embeddings (ONNX: RotaryEmbedding-23; com.microsoft.RotaryEmbedding-1). */

import type { Builder } from '../../ir/builder.ts'
import type { Node } from '../../ir/node.ts'
import type { Value } from '../../ir/value.ts'
import { UnsupportedError } from '../../util/errors.ts'
import type { NodeForm, NodeForms } from '../replace-nodes.ts'
import { fromHeads, toHeads } from './scaled-dot-product.ts'

/**
 * Turns the pairs (a, b) of the first 2·C elements of each head: (a cos − b sin, a sin + b cos). Pairs are neighbours
 * where `interleaved`, else elements of both halves.
 *
 * @param x [B, N, S, D]
 * @param cos as `sin`, broadcasts to [B, N, S, C]
 */
function rotate(op: Builder, x: Value, cos: Value, sin: Value, interleaved: boolean): Value {
  const half = cos.shape.at(-1)!
  const lead = x.shape.slice(0, 3)
  const width = x.shape[3]!
  const [turned, rest] = op.Split(x, width === 2 * half ? [width] : [2 * half, width - 2 * half], 3)
  // The two elements of a pair on an axis of their own: behind the pairs, or before them.
  const axis = interleaved ? 4 : 3
  const paired = interleaved ? [...lead, half, 2] : [...lead, 2, half]
  const [a, b] = op
    .Split(op.Reshape(turned!, paired), [1, 1], axis)
    .map(part => op.Reshape(part, [...lead, half])) as [Value, Value]
  const parts = [op.Sub(op.Mul(a, cos), op.Mul(b, sin)), op.Add(op.Mul(a, sin), op.Mul(b, cos))]
  const single = paired.with(axis, 1)
  const joined = op.Concat(
    parts.map(part => op.Reshape(part, single)),
    axis,
  )
  const y = op.Reshape(joined, [...lead, 2 * half])
  return rest ? op.Concat([y, rest], 3) : y
}

function rotated(
  op: Builder,
  node: Node,
  caches: readonly [cos: Value, sin: Value],
  positions: Value | null,
): Value {
  const x = node.input(0)
  const heads = node.int('num_heads', 0)
  const width = caches[0].shape.at(-1)! * 2
  // Heads may be told by their width where the attribute is absent.
  const x4 = toHeads(op, x, heads > 0 ? heads : x.rank === 3 ? x.shape[2]! / width : 0)
  const [cos, sin] = caches.map(cache => {
    const rows = positions ? op.Gather(cache, positions, 0) : cache
    return op.Reshape(rows, [rows.shape[0]!, 1, rows.shape[1]!, rows.shape[2]!])
  }) as [Value, Value]
  const y = rotate(op, x4, cos, sin, node.int('interleaved', 0) !== 0)
  return x.rank === 4 ? y : fromHeads(op, y)
}

/** Without positions the caches have a row for each step: [B, S, C]. */
const standard: NodeForm = (op, node) =>
  rotated(op, node, [node.input(1), node.input(2)], node.inputs[3] ?? null)

/** Positions are [B, S], or one number: that of the first step. */
const microsoft: NodeForm = (op, node) => {
  if (node.int('is_packed_batching', 0) !== 0 || node.float('scale', 1) !== 1) {
    throw new UnsupportedError(
      `gradient: ${node.label} packs its batch or scales its positions, expected neither`,
    )
  }
  const [x, given] = [node.input(0), node.input(1)]
  const steps = x.shape.at(-2)!
  const times = Array.from({ length: steps }, (_, i) => BigInt(i))
  const positions =
    given.rank === 2 ? given : op.Reshape(op.Add(given, op.int64s(times.map(Number))), [1, steps])
  return rotated(op, node, [node.input(2), node.input(3)], positions)
}

export const rotaryFusions: NodeForms = {
  RotaryEmbedding: [standard],
  'com.microsoft.RotaryEmbedding': [microsoft],
}
