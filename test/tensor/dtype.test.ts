/** Half-precision conversions against the definition of the formats. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import {
  bfloat16ToNumber,
  float16ToNumber,
  numberToBfloat16,
  numberToFloat16,
} from '../../src/tensor/dtype.ts'

test('every float16 survives the way through float64', () => {
  for (let bits = 0; bits < 65536; bits++) {
    const value = float16ToNumber(bits)
    if (Number.isNaN(value)) assert.is(numberToFloat16(value) & 0x7fff, 0x7e00)
    else assert.is(numberToFloat16(value), bits, `bits ${bits}`)
  }
})

test('every bfloat16 survives the way through float64', () => {
  for (let bits = 0; bits < 65536; bits++) {
    const value = bfloat16ToNumber(bits)
    if (Number.isNaN(value)) assert.is(numberToBfloat16(value) & 0x7fff, 0x7fc0)
    else assert.is(numberToBfloat16(value), bits, `bits ${bits}`)
  }
})

test('rounding is to nearest, ties to even, in one step from float64', () => {
  const neighbours = (bits: number) => [float16ToNumber(bits), float16ToNumber(bits + 1)] as const
  for (const bits of [0x0000, 0x0001, 0x03ff, 0x0400, 0x3bff, 0x3c00, 0x3c01, 0x7bfe]) {
    const [low, high] = neighbours(bits)
    const middle = (low + high) / 2
    assert.is(numberToFloat16(middle), bits % 2 === 0 ? bits : bits + 1, `tie above ${bits}`)
    // Just beside the tie, by less than a float32 can tell: a double rounding would go wrong here.
    assert.is(numberToFloat16(middle * (1 + 2 ** -50)), middle === 0 ? bits : bits + 1)
    assert.is(numberToFloat16(middle * (1 - 2 ** -50)), bits)
  }
})

test('overflow goes to infinity where IEEE 754 says so', () => {
  assert.is(numberToFloat16(65519.999), 0x7bff)
  assert.is(numberToFloat16(65520), 0x7c00)
  assert.is(numberToFloat16(-1e300), 0xfc00)
  assert.is(numberToBfloat16((2 - 2 ** -8) * 2 ** 127), 0x7f80)
  assert.is(numberToBfloat16(bfloat16ToNumber(0x7f7f)), 0x7f7f)
})

test.run()
