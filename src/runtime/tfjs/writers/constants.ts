/** Operators whose result is known when the graph is recorded: constants and shapes. */

import type { DType } from '../../../tensor/dtype.ts'
import { sizeOf } from '../../../tensor/shape.ts'
import type { Tensor } from '../../../tensor/tensor.ts'
import { UnsupportedError } from '../../../util/errors.ts'
import { tfDTypeOf, toTfArray } from '../elements.ts'
import type { Held } from '../held.ts'
import { writer, type WriterContext, type WriterTable } from '../writer.ts'

function constantOf(context: WriterContext, tensor: Tensor): Held {
  const { k, node } = context
  const dtype = tfDTypeOf(tensor.dtype, node.label)
  return k.hold(k.tape.constant(toTfArray(tensor, node.label), tensor.dims, dtype), tensor.dtype)
}

const Constant = writer(context => {
  const { k, node } = context
  const tensor = node.tensor('value')
  if (tensor) return constantOf(context, tensor)
  const vector = (values: readonly number[], scalar: boolean, dtype: 'float32' | 'int64') =>
    k.hold(k.constant(values, scalar ? [] : [values.length], dtype === 'int64' ? 'int32' : dtype), dtype)
  const { attributes } = node
  if (attributes.has('value_float')) return vector([node.float('value_float', 0)], true, 'float32')
  if (attributes.has('value_int')) return vector([node.int('value_int', 0)], true, 'int64')
  if (attributes.has('value_floats')) return vector(node.floats('value_floats')!, false, 'float32')
  if (attributes.has('value_ints')) return vector(node.ints('value_ints', []), false, 'int64')
  throw new UnsupportedError(
    `${node.label}: expected a tensor or numbers, found ${[...attributes.keys()].join()}`,
  )
})

const ConstantOfShape = writer(context => {
  const { k, node } = context
  const shape = context.needed(0) ?? []
  const tensor = node.tensor('value')
  const dtype: DType = tensor?.dtype ?? 'float32'
  const value = tensor?.toNumbers()[0] ?? 0
  const filled = new Array<number>(sizeOf(shape)).fill(value)
  return k.hold(k.constant(filled, shape, tfDTypeOf(dtype, node.label)), dtype)
}, 0)

const Shape = writer(context => {
  const { k, node } = context
  const { shape } = context.input(0)
  const found = shape.slice(node.int('start', 0), node.int('end', shape.length))
  return k.hold(k.constant(found, [found.length], 'int32'), 'int64')
})

const Size = writer(context => {
  const { k } = context
  return k.hold(k.constant([context.input(0).size], [], 'int32'), 'int64')
})

const Range = writer(
  context => {
    const [start, limit, step] = [0, 1, 2].map(i => context.needed(i)?.[0] ?? 0) as [number, number, number]
    const values = Array.from(
      { length: Math.max(0, Math.ceil((limit - start) / step)) },
      (_, i) => start + i * step,
    )
    const { slot, dtype } = context.input(0)
    return context.k.hold(context.k.constant(values, [values.length], slot.dtype), dtype)
  },
  0,
  1,
  2,
)

export const constantWriters: WriterTable = { Constant, ConstantOfShape, Shape, Size, Range }
