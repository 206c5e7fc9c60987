/** Where a weight ends up: the nodes at which it, or something computed from weights alone, meets an activation. */

import { ONNX_DOMAIN, type Node } from '../ir/node.ts'
import type { Use } from '../ir/topology.ts'
import type { Value } from '../ir/value.ts'
import { SHAPE_READERS } from './dependence.ts'

export interface WeightUse extends Use {
  /** The nodes between the weight and `node`, which all compute from weights alone. */
  readonly path: readonly Node[]
}

/**
 * The final uses of a weight. Nodes whose outputs never change (transposes, casts, sums of weights) are walked through,
 * unless `ends` says that the use tells what the weight is.
 */
export function finalUses(
  weight: Value,
  uses: ReadonlyMap<Value, readonly Use[]>,
  changing: ReadonlySet<Value>,
  ends: (use: Use) => boolean,
): WeightUse[] {
  const found: WeightUse[] = []
  const visited = new Set<Value>()
  const pending: { value: Value; path: readonly Node[] }[] = [{ value: weight, path: [] }]
  for (let next = pending.pop(); next; next = pending.pop()) {
    const { value, path } = next
    if (visited.has(value)) continue
    visited.add(value)
    for (const use of uses.get(value) ?? []) {
      const { node } = use
      const outputs = node.outputs.filter(output => output !== null)
      const readsShape = node.domain === ONNX_DOMAIN && SHAPE_READERS.has(node.opType)
      if (readsShape || ends(use) || outputs.some(output => changing.has(output))) {
        found.push({ ...use, path })
      } else {
        for (const output of outputs) pending.push({ value: output, path: [...path, node] })
      }
    }
  }
  return found
}
