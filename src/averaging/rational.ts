/** The slow, certain way: float64 numbers as exact integers, and quotients rounded from them. */

const UNIT = 1074
const scratch = new DataView(new ArrayBuffer(8))

/** A finite float64 number as an integer multiple of 2^-1074, the smallest positive float64. */
export function toUnits(value: number): bigint {
  scratch.setFloat64(0, value)
  const bits = scratch.getBigUint64(0)
  const exponent = Number((bits >> 52n) & 0x7ffn)
  const fraction = bits & 0xfffffffffffffn
  const magnitude = exponent === 0 ? fraction : (fraction | 0x10000000000000n) << BigInt(exponent - 1)
  return bits >> 63n ? -magnitude : magnitude
}

/** (components[0] + components[1] + ...) / divisor, correctly rounded to float64 (ties to even). */
export function roundedQuotient(components: readonly number[], divisor: number): number {
  const sum = components.reduce((units, component) => units + toUnits(component), 0n)
  if (sum === 0n) return 0
  const magnitude = sum < 0n ? -sum : sum
  const by = BigInt(divisor)
  // Keep 53 bits of the quotient, or as many as lie above the smallest float64.
  const shift = Math.max(0, (magnitude / by).toString(2).length - 53)
  const scale = by << BigInt(shift)
  let quotient = magnitude / scale
  const twiceRest = 2n * (magnitude - quotient * scale)
  if (twiceRest > scale || (twiceRest === scale && quotient & 1n)) quotient++
  // `quotient` has at most 53 bits (or is 2^53): products with powers of two are exact, two steps keep them in range.
  const exponent = shift - UNIT
  const half = Math.trunc(exponent / 2)
  const result = Number(quotient) * 2 ** half * 2 ** (exponent - half)
  return sum < 0n ? -result : result
}
