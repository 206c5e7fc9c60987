/** Walking back from a value to the weight or activation that it is another form of. */

import { ONNX_DOMAIN } from '../ir/node.ts'
import type { Value } from '../ir/value.ts'

/** Operators that keep all elements in their order: their output is their first input in other clothes. */
const SAME_ELEMENTS: ReadonlySet<string> = new Set([
  'Identity',
  'Cast',
  'CastLike',
  'Reshape',
  'Flatten',
  'Squeeze',
  'Unsqueeze',
])

/** The value that `value` holds the elements of, in the same order: behind Identity, Cast, Reshape and their like. */
export function sourceOf(value: Value): Value {
  let source = value
  while (source.producer && keepsElements(source)) source = source.producer.input(0)
  return source
}

/** Whether a value is its producer's first input, reshaped or cast. */
export function keepsElements(value: Value): boolean {
  return value.producer?.domain === ONNX_DOMAIN && SAME_ELEMENTS.has(value.producer.opType)
}
