/** Tensors as a client holds them: a datatype, a shape and an array; and their way to bytes and back. */

import { decodeStrings, encodeStrings } from '../protocol/bytes-elements.ts'
import { elementBytes, type Datatype } from '../protocol/datatypes.ts'

/** The array of each datatype; FP16 and BF16 as their bits. */
export interface DatatypeArrays {
  BOOL: Uint8Array
  UINT8: Uint8Array
  UINT16: Uint16Array
  UINT32: Uint32Array
  UINT64: BigUint64Array
  INT8: Int8Array
  INT16: Int16Array
  INT32: Int32Array
  INT64: BigInt64Array
  FP16: Uint16Array
  BF16: Uint16Array
  FP32: Float32Array
  FP64: Float64Array
  BYTES: readonly string[]
}

/** A tensor of one datatype; of any, where none is named. */
export type ClientTensor<D extends Datatype = Datatype> = {
  [K in D]: {
    readonly datatype: K
    readonly shape: readonly number[]
    readonly data: DatatypeArrays[K]
  }
}[D]

type Arrays = Readonly<
  Record<Datatype, { new (buffer: ArrayBuffer): DatatypeArrays[Exclude<Datatype, 'BYTES'>] } | null>
>

const ARRAYS: Arrays = {
  BOOL: Uint8Array,
  UINT8: Uint8Array,
  UINT16: Uint16Array,
  UINT32: Uint32Array,
  UINT64: BigUint64Array,
  INT8: Int8Array,
  INT16: Int16Array,
  INT32: Int32Array,
  INT64: BigInt64Array,
  FP16: Uint16Array,
  BF16: Uint16Array,
  FP32: Float32Array,
  FP64: Float64Array,
  BYTES: null,
}

/** Little-endian elements. */
export function bytesOfTensor({ datatype, shape, data }: ClientTensor): Uint8Array {
  const elements = shape.reduce((product, dim) => product * dim, 1)
  if (data.length !== elements) {
    throw new RangeError(
      `${datatype} [${shape.join(',')}]: expected ${elements} elements, found ${data.length}`,
    )
  }
  if (datatype === 'BYTES') {
    const encoder = new TextEncoder()
    return encodeStrings(data.map(text => encoder.encode(text)))
  }
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
}

export function tensorOfBytes(datatype: Datatype, shape: readonly number[], bytes: Uint8Array): ClientTensor {
  const elements = shape.reduce((product, dim) => product * dim, 1)
  const construct = ARRAYS[datatype]
  if (construct === null) {
    const decoder = new TextDecoder()
    const data = decodeStrings(bytes, elements, 'output').map(string => decoder.decode(string))
    return { datatype, shape, data } as ClientTensor
  }
  if (bytes.byteLength !== elements * elementBytes(datatype)) {
    throw new RangeError(
      `${datatype} [${shape.join(',')}]: expected ${elements * elementBytes(datatype)} bytes, found ${bytes.byteLength}`,
    )
  }
  // A copy of its own, at an address that suits the array (the slice of a Buffer would be none).
  return { datatype, shape, data: new construct(new Uint8Array(bytes).buffer) } as ClientTensor
}
