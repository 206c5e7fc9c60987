/** Element types of ONNX tensors and the conversions that JavaScript lacks. Source: onnx.proto, TensorProto.DataType. */

import { InputError } from '../util/errors.ts'

export type DType =
  | 'float32'
  | 'uint8'
  | 'int8'
  | 'uint16'
  | 'int16'
  | 'int32'
  | 'int64'
  | 'string'
  | 'bool'
  | 'float16'
  | 'float64'
  | 'uint32'
  | 'uint64'
  | 'complex64'
  | 'complex128'
  | 'bfloat16'
  | 'float8e4m3fn'
  | 'float8e4m3fnuz'
  | 'float8e5m2'
  | 'float8e5m2fnuz'
  | 'uint4'
  | 'int4'
  | 'float4e2m1'
  | 'float8e8m0'
  | 'uint2'
  | 'int2'

export interface DTypeInfo {
  /** The number of the type in `TensorProto.DataType`. */
  readonly onnx: number
  /** Bits of one element in packed little-endian form; 0 for strings. */
  readonly bits: number
  /** Real floating point, i.e. a weight can be trained or averaged in it. */
  readonly float: boolean
  readonly integer: boolean
}

const row = (onnx: number, bits: number, kind: 'float' | 'integer' | 'other'): DTypeInfo => ({
  onnx,
  bits,
  float: kind === 'float',
  integer: kind === 'integer',
})

export const DTYPES: Readonly<Record<DType, DTypeInfo>> = {
  float32: row(1, 32, 'float'),
  uint8: row(2, 8, 'integer'),
  int8: row(3, 8, 'integer'),
  uint16: row(4, 16, 'integer'),
  int16: row(5, 16, 'integer'),
  int32: row(6, 32, 'integer'),
  int64: row(7, 64, 'integer'),
  string: row(8, 0, 'other'),
  bool: row(9, 8, 'other'),
  float16: row(10, 16, 'float'),
  float64: row(11, 64, 'float'),
  uint32: row(12, 32, 'integer'),
  uint64: row(13, 64, 'integer'),
  complex64: row(14, 64, 'other'),
  complex128: row(15, 128, 'other'),
  bfloat16: row(16, 16, 'float'),
  float8e4m3fn: row(17, 8, 'float'),
  float8e4m3fnuz: row(18, 8, 'float'),
  float8e5m2: row(19, 8, 'float'),
  float8e5m2fnuz: row(20, 8, 'float'),
  uint4: row(21, 4, 'integer'),
  int4: row(22, 4, 'integer'),
  float4e2m1: row(23, 4, 'float'),
  float8e8m0: row(24, 8, 'float'),
  uint2: row(25, 2, 'integer'),
  int2: row(26, 2, 'integer'),
}

const BY_ONNX = new Map<number, DType>(
  Object.entries(DTYPES).map(([name, info]) => [info.onnx, name as DType]),
)

/** The dtype of a `TensorProto.DataType` number. */
export function dtypeOfOnnx(code: number, where: string): DType {
  const dtype = BY_ONNX.get(code)
  if (dtype === undefined)
    throw new InputError(`${where}: unknown tensor data type ${code}, expected 1 to 26`)
  return dtype
}

/** Bytes of `count` elements in packed form; 4-bit and 2-bit types round up to whole bytes. */
export function byteLengthOf(dtype: DType, count: number): number {
  return Math.ceil((count * DTYPES[dtype].bits) / 8)
}

const scratch = new DataView(new ArrayBuffer(8))

/** IEEE binary16 bits -> number. */
export function float16ToNumber(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1
  const exponent = (bits >> 10) & 0x1f
  const fraction = bits & 0x3ff
  if (exponent === 0) return sign * fraction * 2 ** -24
  if (exponent === 31) return fraction ? NaN : sign * Infinity
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15)
}

/** Number -> IEEE binary16 bits, one rounding to nearest, ties to even, straight from float64. */
export function numberToFloat16(value: number): number {
  if (Number.isNaN(value)) return 0x7e00
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0
  const magnitude = Math.abs(value)
  if (magnitude >= 65520) return sign | 0x7c00
  if (magnitude < 2 ** -14) return sign | roundHalfEven(magnitude * 2 ** 24)
  scratch.setFloat64(0, magnitude)
  const exponent = ((scratch.getUint16(0) >> 4) & 0x7ff) - 1023
  // A fraction that rounds up to 2048 carries into the exponent by itself.
  return sign | (((exponent + 14) << 10) + roundHalfEven((magnitude / 2 ** exponent) * 1024))
}

/** bfloat16 bits -> number: the upper half of a float32. */
export function bfloat16ToNumber(bits: number): number {
  scratch.setUint32(0, bits << 16)
  return scratch.getFloat32(0)
}

/** Number -> bfloat16 bits, one rounding to nearest, ties to even, straight from float64. */
export function numberToBfloat16(value: number): number {
  if (Number.isNaN(value)) return 0x7fc0
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0
  const magnitude = Math.abs(value)
  if (magnitude < 2 ** -126) return sign | roundHalfEven(magnitude * 2 ** 133)
  if (magnitude === Infinity) return sign | 0x7f80
  scratch.setFloat64(0, magnitude)
  const exponent = ((scratch.getUint16(0) >> 4) & 0x7ff) - 1023
  const bits = ((exponent + 126) << 7) + roundHalfEven((magnitude / 2 ** exponent) * 128)
  return sign | Math.min(bits, 0x7f80)
}

/** Rounds a non-negative number below 2^52 to the nearest integer, ties to even. */
export function roundHalfEven(value: number): number {
  const floor = Math.floor(value)
  const rest = value - floor
  if (rest < 0.5 || (rest === 0.5 && floor % 2 === 0)) return floor
  return floor + 1
}
