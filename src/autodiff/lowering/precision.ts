/** Composites on values of half precision where the arithmetic wants float32. */

import type { Lowering } from './lower.ts'

/** A lowering in float32: what comes in as float16 is cast before it, what goes out as float16 behind it. */
export function inFloat32(lowering: Lowering): Lowering {
  return context => {
    const { op, node, inputs } = context
    if (inputs.every(value => value.dtype !== 'float16')) return lowering(context)
    const whole = inputs.map(value => (value.dtype === 'float16' ? op.Cast(value, 'float32') : value))
    const results = lowering({ ...context, inputs: whole })
    return (
      results && results.map((result, i) => result && op.Cast(result, node.outputs[i]?.dtype ?? result.dtype))
    )
  }
}
