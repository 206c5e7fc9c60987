/** Inputs of a node whose elements must be known before it runs. */

import type { Node } from '../ir/node.ts'
import { UnsupportedError } from '../util/errors.ts'

/** The elements of an input that is an initializer or a Constant; throws where it is computed. */
export function knownElements(node: Node, index: number): number[] {
  const input = node.input(index)
  const made = input.producer?.opType === 'Constant' ? input.producer.tensor('value') : undefined
  const tensor = input.tensor ?? made
  if (!tensor?.resident) {
    throw new UnsupportedError(
      `${node.label}: input ${index} (${input.toString()}) should be constant, found a computed value`,
      { cure: 'export the model with static shapes' },
    )
  }
  return tensor.dtype === 'int64' ? Array.from(tensor.view(), Number) : tensor.toNumbers()
}
