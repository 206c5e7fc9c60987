/** Elements of our tensors as tfjs holds them, and back. */

import type { DType } from '../../tensor/dtype.ts'
import { Tensor, type TypedArray } from '../../tensor/tensor.ts'
import { InputError, UnsupportedError } from '../../util/errors.ts'
import { TF_DTYPES, type TfArray, type TfDType } from './tf.ts'

const [LOWEST, HIGHEST] = [-(2 ** 31), 2 ** 31 - 1]
/** int64's ends: exporters write them where they mean "to the end". */
const FOREVER: readonly bigint[] = [2n ** 63n - 1n, -(2n ** 63n), 1n - 2n ** 63n]

/** The tfjs type of an ONNX type; refuses, naming the tensor, what tfjs has none for. */
export function tfDTypeOf(dtype: DType, what: string): TfDType {
  const found = TF_DTYPES[dtype]
  if (found) return found
  throw new UnsupportedError(`${what}: tfjs computes in float32, int32 and bool, found ${dtype}`, {
    cure: dtype === 'string' ? 'use --engine cpu' : 'convert the model to float32, or use --engine cpu',
  })
}

/**
 * The elements of a resident tensor. float32 is shared with it; integers of other widths are copied to int32.
 *
 * @param clamp whether int64 beyond int32 means no more than "far", as in the bounds of a Slice; else it is an error
 */
export function toTfArray(tensor: Tensor, what: string, clamp = false): TfArray {
  const kind = tfDTypeOf(tensor.dtype, what)
  const view = tensor.view()
  if (view instanceof BigInt64Array) return Int32Array.from(view, value => narrowed(value, what, clamp))
  if (kind === 'int32') return view instanceof Int32Array ? view : Int32Array.from(view as Uint8Array)
  return view as TfArray
}

function narrowed(value: bigint, what: string, clamp: boolean): number {
  const number = Number(value)
  if (number >= LOWEST && number <= HIGHEST) return number
  if (clamp || FOREVER.includes(value)) return number > 0 ? HIGHEST : LOWEST
  throw new InputError(`${what}: tfjs has int32 in place of int64, and ${value} does not fit`, {
    cure: 'use --engine cpu',
  })
}

const FROM_INT32: Partial<Readonly<Record<DType, (values: ArrayLike<number>) => TypedArray>>> = {
  int64: values => BigInt64Array.from(values as readonly number[], BigInt),
  int16: values => Int16Array.from(values),
  int8: values => Int8Array.from(values),
  uint16: values => Uint16Array.from(values),
  uint8: values => Uint8Array.from(values),
  int32: values => Int32Array.from(values),
  bool: values => Uint8Array.from(values),
}

/** A tensor of its own memory from what tfjs gave. */
export function fromTfArray(values: ArrayLike<number>, dims: readonly number[], dtype: DType): Tensor {
  const convert = FROM_INT32[dtype]
  return Tensor.of(dtype, dims, convert ? convert(values) : Float32Array.from(values))
}
