/** Raises that move an attribute to an input. */

import { Tensor } from '../../tensor/tensor.ts'
import { int } from '../../ir/attribute.ts'
import type { Node } from '../../ir/node.ts'
import type { Value } from '../../ir/value.ts'
import type { RaiseContext } from './context.ts'

/** Rewrites a node for the next version of its operator: in place, or by the nodes that it returns instead. */
export type Raise = (node: Node, context: RaiseContext) => Node[] | null

/** Attributes of type ints become inputs 1, 2, ...; absent ones leave a hole. */
export function intsToInputs(...names: readonly string[]): Raise {
  return (node, context) => {
    const inputs = names.map(name => {
      const values = node.int64s(name)
      node.attributes.delete(name)
      return values === undefined ? null : context.int64s(node, name, values)
    })
    setInputs(node, inputs)
    return null
  }
}

/** Input 0 stays, `inputs` follow it; holes at the end are dropped. */
export function setInputs(node: Node, inputs: readonly (Value | null)[]): void {
  const end = inputs.findLastIndex(input => input !== null) + 1
  node.inputs = [node.input(0), ...inputs.slice(0, end)]
}

/** TopK-1: the attribute k. */
export const raiseTopK: Raise = (node, context) => {
  setInputs(node, [context.int64s(node, 'k', [node.int('k', 1)])])
  node.attributes.delete('k')
  return null
}

/** Clip-6: the attributes min and max, in the element type of the input. */
export const raiseClip: Raise = (node, context) => {
  const dtype = context.dtypeOf(node.input(0))
  const bounds = ['min', 'max'].map(name => {
    const bound = node.attributes.has(name) ? context.scalar(node, name, dtype, node.float(name, 0)) : null
    node.attributes.delete(name)
    return bound
  })
  setInputs(node, bounds)
  return null
}

/** Pad-2: the attributes pads and value. */
export const raisePad: Raise = (node, context) => {
  const value = node.float('value', 0)
  const pads = context.int64s(node, 'pads', node.ints('pads', []))
  const filling = value === 0 ? null : context.scalar(node, 'value', context.dtypeOf(node.input(0)), value)
  node.attributes.delete('pads')
  node.attributes.delete('value')
  setInputs(node, [pads, filling])
  return null
}

/** Dropout-7, 10: the attribute ratio; what their mask holds at inference is not said. */
export const raiseDropout: Raise = (node, context) => {
  if (context.isRead(node.outputs[1])) throw context.unsupported(node, 'its mask is read')
  setInputs(node, [context.constant(node, 'ratio', Tensor.scalar('float32', node.float('ratio', 0.5)))])
  node.attributes.delete('ratio')
  return null
}

/** Split-13 without sizes: equal parts, which Split-18 wants to be counted. */
export const raiseSplit: Raise = node => {
  if (!node.inputs[1]) node.attributes.set('num_outputs', int(node.outputs.length))
  return null
}
