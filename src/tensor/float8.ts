/**
 * The 8-bit floating point formats. Sources: ONNX, "Float stored in 8 bits"; Micikevicius et al., "FP8 formats for deep
 * learning", 2022; Noune et al., "8-bit numerical formats for deep neural networks", 2022 (the unsigned-zero forms).
 */

export type Float8DType = 'float8e4m3fn' | 'float8e4m3fnuz' | 'float8e5m2' | 'float8e5m2fnuz'

interface Layout {
  readonly fractionBits: number
  readonly bias: number
  /** The special codes without their sign; `nanZero`: 0x80 is the only NaN, and there is no negative zero. */
  readonly special: 'ieee' | 'largest' | 'nanZero'
}

const LAYOUTS: Readonly<Record<Float8DType, Layout>> = {
  float8e4m3fn: { fractionBits: 3, bias: 7, special: 'largest' },
  float8e4m3fnuz: { fractionBits: 3, bias: 8, special: 'nanZero' },
  float8e5m2: { fractionBits: 2, bias: 15, special: 'ieee' },
  float8e5m2fnuz: { fractionBits: 2, bias: 16, special: 'nanZero' },
}

function decode({ fractionBits, bias, special }: Layout, code: number): number {
  const magnitude = code & 0x7f
  const sign = code & 0x80 ? -1 : 1
  if (special === 'nanZero' && code === 0x80) return NaN
  if (special === 'largest' && magnitude === 0x7f) return NaN
  if (special === 'ieee' && magnitude >= 0x7c) return magnitude === 0x7c ? sign * Infinity : NaN
  const exponent = magnitude >> fractionBits
  const fraction = (magnitude & ((1 << fractionBits) - 1)) / 2 ** fractionBits
  return sign * (exponent === 0 ? fraction * 2 ** (1 - bias) : (1 + fraction) * 2 ** (exponent - bias))
}

interface Table {
  readonly values: Float32Array
  readonly codes: ReadonlyMap<number, number>
  readonly largest: number
}

const tables = new Map<Float8DType, Table>()

function tableOf(dtype: Float8DType): Table {
  const known = tables.get(dtype)
  if (known) return known
  const values = Float32Array.from({ length: 256 }, (_, code) => decode(LAYOUTS[dtype], code))
  // A Map has one key for both zeros, and one for all NaN: the smallest code comes last and stays.
  const codes = new Map([...values.entries()].reverse().map(([code, number]) => [number, code]))
  const table = { values, codes, largest: Math.max(...values.filter(Number.isFinite)) }
  tables.set(dtype, table)
  return table
}

/** The value of each of the 256 codes. */
export function float8Values(dtype: Float8DType): Float32Array {
  return tableOf(dtype).values
}

/** The code of a number that the format has; a larger one is infinite, or NaN where there is no infinity. */
export function encodeFloat8(dtype: Float8DType, value: number): number {
  const { codes, largest } = tableOf(dtype)
  if (Object.is(value, -0) && LAYOUTS[dtype].special !== 'nanZero') return 0x80
  const beyond = Math.abs(value) > largest ? Math.sign(value) * Infinity : value
  return codes.get(beyond) ?? codes.get(NaN)!
}
