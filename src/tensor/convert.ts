/** Tensors in another float type: one rounding to nearest, ties to even. */

import { InputError, invariant } from '../util/errors.ts'
import { DTYPES, type DType } from './dtype.ts'
import { formatShape } from './shape.ts'
import { Tensor } from './tensor.ts'

/** The largest finite float32. */
const LARGEST = (2 - 2 ** -23) * 2 ** 127

/**
 * The float32 form of a float tensor. Finite numbers that float32 does not hold (a float64 "minus infinity" of a mask)
 * become its largest, so that they stay finite.
 */
export async function toFloat32Tensor(tensor: Tensor): Promise<Tensor> {
  if (tensor.dtype === 'float32') return tensor
  invariant(DTYPES[tensor.dtype].float, `${tensor.dtype} is no float type`)
  const numbers = (await tensor.load()).toNumbers()
  const values = Float32Array.from(numbers, value =>
    Number.isFinite(value) ? Math.min(LARGEST, Math.max(-LARGEST, value)) : value,
  )
  return Tensor.of('float32', tensor.dims, values)
}

/** A float32 tensor in the float type of a file; a finite number beyond the largest of the type is refused. */
export function fromFloat32Tensor(tensor: Tensor, dtype: DType, name: string): Tensor {
  if (dtype === tensor.dtype) return tensor
  const values = tensor.view() as Float32Array
  const rounded = Tensor.of(dtype, tensor.dims, Array.from(values))
  const stored = rounded.toNumbers()
  const index = stored.findIndex((value, i) => !Number.isFinite(value) && Number.isFinite(values[i]))
  if (index < 0) return rounded
  throw new InputError(
    `tensor "${name}" ${dtype}${formatShape(tensor.dims)}: element ${index} is ${values[index]!}, beyond the largest ${dtype}`,
    {
      cure: 'a model in float32 holds such numbers; weights of this size come from too high a learning rate',
    },
  )
}
