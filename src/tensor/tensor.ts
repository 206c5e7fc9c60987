/** A tensor: dtype, dims and packed little-endian bytes, in memory or as a range of a file. */

import { endianness } from 'node:os'
import { EnvironmentError, InputError, invariant } from '../util/errors.ts'
import {
  bfloat16ToNumber,
  byteLengthOf,
  float16ToNumber,
  numberToBfloat16,
  numberToFloat16,
  type DType,
} from './dtype.ts'
import { formatShape, sizeOf, type Shape } from './shape.ts'
import type { ByteRange } from './source.ts'

if (endianness() !== 'LE')
  throw new EnvironmentError('tensor: this machine is big-endian, expected little-endian')

export type TypedArray =
  | Float32Array
  | Float64Array
  | Int8Array
  | Uint8Array
  | Int16Array
  | Uint16Array
  | Int32Array
  | Uint32Array
  | BigInt64Array
  | BigUint64Array

/** The array a dtype is viewed through; float16 and bfloat16 show their bits as Uint16Array, bool as Uint8Array. */
const ARRAYS: Partial<
  Record<
    DType,
    { new (buffer: ArrayBufferLike, offset: number, length: number): TypedArray; BYTES_PER_ELEMENT: number }
  >
> = {
  float32: Float32Array,
  float64: Float64Array,
  float16: Uint16Array,
  bfloat16: Uint16Array,
  int8: Int8Array,
  uint8: Uint8Array,
  bool: Uint8Array,
  int16: Int16Array,
  uint16: Uint16Array,
  int32: Int32Array,
  uint32: Uint32Array,
  int64: BigInt64Array,
  uint64: BigUint64Array,
}

/** Where a tensor's elements are: packed bytes, a range still to be read, or strings. */
export type TensorData = Uint8Array | ByteRange | readonly Uint8Array[]

export class Tensor {
  readonly dtype: DType
  readonly dims: Shape
  readonly data: TensorData

  constructor(dtype: DType, dims: Shape, data: TensorData) {
    this.dtype = dtype
    this.dims = dims
    this.data = data
    const expected = dtype === 'string' ? this.size : this.byteLength
    const found = 'length' in data ? data.length : 0
    if (expected !== found) {
      throw new InputError(
        `tensor ${dtype}${formatShape(dims)}: expected ${expected} ${dtype === 'string' ? 'strings' : 'bytes'}, found ${found}`,
      )
    }
  }

  /** A resident tensor over a typed array (shared, not copied) or over numbers (converted and rounded). */
  static of(dtype: DType, dims: Shape, values: TypedArray | readonly number[] | readonly bigint[]): Tensor {
    if (ArrayBuffer.isView(values)) {
      return new Tensor(dtype, dims, new Uint8Array(values.buffer, values.byteOffset, values.byteLength))
    }
    const tensor = new Tensor(dtype, dims, new Uint8Array(byteLengthOf(dtype, sizeOf(dims))))
    const array = tensor.view()
    invariant(
      values.length === array.length,
      `tensor ${dtype}${formatShape(dims)} got ${values.length} values`,
    )
    const encode = ENCODERS[dtype]
    if (array instanceof BigInt64Array || array instanceof BigUint64Array) {
      for (let i = 0; i < values.length; i++) array[i] = BigInt(values[i]!)
    } else {
      for (let i = 0; i < values.length; i++)
        array[i] = encode ? encode(Number(values[i])) : Number(values[i])
    }
    return tensor
  }

  static scalar(dtype: DType, value: number): Tensor {
    return Tensor.of(dtype, [], [value])
  }

  /** Number of elements. */
  get size(): number {
    return sizeOf(this.dims)
  }

  /** Bytes in packed form (0 for strings). */
  get byteLength(): number {
    return byteLengthOf(this.dtype, this.size)
  }

  /** Whether the elements are in memory. */
  get resident(): boolean {
    return this.data instanceof Uint8Array || Array.isArray(this.data)
  }

  /** The packed little-endian bytes, read from the file if need be. Not for strings. */
  async bytes(): Promise<Uint8Array> {
    const data = this.data
    if (data instanceof Uint8Array) return data
    invariant('source' in data, 'a string tensor has no packed bytes')
    return data.source.read(data.offset, data.length)
  }

  /** This tensor with its elements in memory. */
  async load(): Promise<Tensor> {
    return this.resident ? this : new Tensor(this.dtype, this.dims, await this.bytes())
  }

  /** A typed array over the bytes of a resident tensor (copied only when misaligned). */
  view(): TypedArray {
    const constructor = ARRAYS[this.dtype]
    invariant(constructor, `${this.dtype} has no typed array`)
    invariant(
      this.data instanceof Uint8Array,
      `tensor ${this.dtype}${formatShape(this.dims)} is not resident`,
    )
    const aligned =
      this.data.byteOffset % constructor.BYTES_PER_ELEMENT === 0 ? this.data : new Uint8Array(this.data)
    return new constructor(aligned.buffer, aligned.byteOffset, this.size)
  }

  /** The elements of a resident tensor as float64 numbers; 64-bit integers must be safe integers. */
  toNumbers(): number[] {
    const array = this.view()
    const decode = DECODERS[this.dtype]
    return Array.from(array as ArrayLike<number | bigint>, value => {
      const number = Number(value)
      invariant(typeof value === 'number' || Number.isSafeInteger(number), `integer ${value} exceeds 2^53`)
      return decode ? decode(number) : number
    })
  }
}

const ENCODERS: Partial<Record<DType, (value: number) => number>> = {
  float16: numberToFloat16,
  bfloat16: numberToBfloat16,
}

const DECODERS: Partial<Record<DType, (bits: number) => number>> = {
  float16: float16ToNumber,
  bfloat16: bfloat16ToNumber,
}
