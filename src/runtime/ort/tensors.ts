/** Between our tensors and onnxruntime's. */

import type * as Ort from 'onnxruntime-node'
import { UnsupportedError } from '../../util/errors.ts'
import type { DType } from '../../tensor/dtype.ts'
import type { TypedArray } from '../../tensor/tensor.ts'
import type { OrtModule } from './load.ts'
import { fromWire, type WireFeeds, type WireTensor } from './messages.ts'

type OrtType = Ort.Tensor.Type

/** The dtypes that cross the binding; bfloat16, float8 and 4-bit tensors do not. */
const ORT_TYPES: Partial<Record<DType, OrtType>> = {
  float32: 'float32',
  float64: 'float64',
  float16: 'float16',
  int8: 'int8',
  uint8: 'uint8',
  int16: 'int16',
  uint16: 'uint16',
  int32: 'int32',
  uint32: 'uint32',
  int64: 'int64',
  uint64: 'uint64',
  bool: 'bool',
  string: 'string',
}

const DTYPE_OF = new Map<string, DType>(
  Object.entries(ORT_TYPES).map(([dtype, type]) => [type, dtype as DType]),
)

/** Our dtype for an onnxruntime type name; null for what is not a tensor we can hold. */
export function dtypeOfOrt(type: string): DType | null {
  return DTYPE_OF.get(type) ?? null
}

export function toOrt(ort: OrtModule, wire: WireTensor, name: string): Ort.Tensor {
  const type = ORT_TYPES[wire.dtype]
  if (type === undefined) {
    throw new UnsupportedError(`input ${name}: onnxruntime-node cannot take ${wire.dtype} tensors`)
  }
  if (wire.dtype === 'string') {
    const strings = (wire.data as readonly Uint8Array[]).map(bytes => new TextDecoder().decode(bytes))
    return new ort.Tensor('string', strings, wire.dims)
  }
  const view = fromWire(wire).view()
  // Where the runtime has Float16Array, the binding's Tensor class wants it for float16; the bits are the same.
  const Half = (globalThis as { Float16Array?: new (b: ArrayBufferLike, o: number, l: number) => TypedArray })
    .Float16Array
  const data = wire.dtype === 'float16' && Half ? new Half(view.buffer, view.byteOffset, view.length) : view
  return new ort.Tensor(type as 'float32', data as Float32Array, wire.dims)
}

export function fromOrt(tensor: Ort.Tensor, name: string): WireTensor {
  const dtype = dtypeOfOrt(tensor.type)
  if (dtype === null) throw new UnsupportedError(`output ${name}: unexpected tensor type ${tensor.type}`)
  if (dtype === 'string') {
    return {
      dtype,
      dims: tensor.dims,
      data: (tensor.data as string[]).map(text => new TextEncoder().encode(text)),
    }
  }
  const array = tensor.data as TypedArray
  return { dtype, dims: tensor.dims, data: new Uint8Array(array.buffer, array.byteOffset, array.byteLength) }
}

/** What `run` of a session takes. */
export function bindFeeds(ort: OrtModule, feeds: WireFeeds): Record<string, Ort.Tensor> {
  return Object.fromEntries(feeds.map(([name, tensor]) => [name, toOrt(ort, tensor, name)]))
}
