/** Puts what was written on a tape in the place of a value that others read already. */

import type { Builder } from '../ir/builder.ts'
import type { Value } from '../ir/value.ts'
import { sameShape } from '../tensor/shape.ts'
import { invariant } from '../util/errors.ts'

/**
 * Makes `output` the result of the node on the tape that produced `result`, in the place of `result`. `bound` remembers
 * what earlier calls for the same tape put in place; `what` names the output in errors.
 */
export function bindOutput(
  op: Builder,
  output: Value,
  result: Value | null,
  bound: Map<Value, Value>,
  what: string,
): void {
  invariant(result, `lowering gives no ${what}`)
  invariant(
    result.dtype === output.dtype && sameShape(result.shape, output.shape),
    `lowering gives ${result.toString()} as ${what}, expected ${output.toString()}`,
  )
  // A result that was there before (an input of the composite, a value bound already) is copied.
  const own = op.nodes.some(node => node.outputs.includes(result))
  const replaced = own ? result : op.Identity(bound.get(result) ?? result)
  bound.set(result, output)
  const swap = (value: Value | null) => (value === replaced ? output : value)
  for (const node of op.nodes) {
    if (node.outputs.includes(replaced)) output.producer = node
    node.outputs = node.outputs.map(swap)
    node.inputs = node.inputs.map(swap)
  }
}
