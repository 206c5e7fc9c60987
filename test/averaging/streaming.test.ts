/** Means computed on demand: any range, any number of blocks, errors that name the element. */

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { roundMean, type AveragedDType } from '../../src/averaging/rounding.ts'
import { MeanSource, SumSource, tailOf } from '../../src/averaging/streaming.ts'
import type { Summand } from '../../src/averaging/summand.ts'
import { BLOCK } from '../../src/averaging/sum-block.ts'
import { numberToBfloat16, numberToFloat16 } from '../../src/tensor/dtype.ts'
import { MemorySource, type ByteSource } from '../../src/tensor/source.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { Random } from '../../src/util/random.ts'
import { errorOf } from '../support/errors.ts'

const test = suite('averaging: streaming')
const COUNT = 2 * BLOCK + 1234

function randomTensor(dtype: AveragedDType, seed: number, size = COUNT): Tensor {
  const random = Random.of(seed)
  const values = Float64Array.from({ length: size }, () => random.normal())
  if (dtype === 'float64') return Tensor.of(dtype, [size], values)
  if (dtype === 'float32') return Tensor.of(dtype, [size], Float32Array.from(values))
  return Tensor.of(
    dtype,
    [size],
    Uint16Array.from(values, dtype === 'float16' ? numberToFloat16 : numberToBfloat16),
  )
}

/** The same elements as a range in the middle of a larger source, on an odd address. */
function asRange(tensor: Tensor): Tensor {
  const bytes = new Uint8Array(tensor.byteLength + 14)
  bytes.set(tensor.data as Uint8Array, 7)
  const source = new MemorySource(bytes)
  return new Tensor(tensor.dtype, tensor.dims, { source, offset: 7, length: tensor.byteLength })
}

const element = (tensor: Tensor, member: string, weight = 1): Summand => ({
  ...{ kind: 'elements', tensor, member, weight },
})

async function readAll(source: ByteSource): Promise<Uint8Array> {
  return source.read(0, source.byteLength)
}

test('every dtype, over several blocks, from memory and from files', async () => {
  for (const dtype of ['float32', 'float16', 'bfloat16', 'float64'] as const) {
    const tensors = [1, 2, 3].map(seed => randomTensor(dtype, seed))
    const numbers = tensors.map(tensor => tensor.toNumbers())
    const summands = tensors.map((tensor, k) => element(k === 1 ? tensor : asRange(tensor), `member ${k}`, 1))
    const source = new MeanSource({ name: 'w', dtype, dims: [COUNT], summands }, 3)
    const mean = new Tensor(dtype, [COUNT], await readAll(source)).toNumbers()
    for (const i of [0, 1, BLOCK - 1, BLOCK, 2 * BLOCK, COUNT - 1]) {
      // Three float64 of similar size: their sum is a pair.
      const [a, b, c] = numbers.map(values => values[i]!) as [number, number, number]
      const s = a + b
      const e = a - (s - (s - a)) + (b - (s - a))
      const t = s + c
      const f = s - (t - (t - s)) + (c - (t - s))
      const high = t + (e + f)
      assert.is(mean[i], roundMean([high, e + f - (high - t)], 3, dtype), `${dtype} ${i}`)
    }
  }
})

test('any range gives the same bytes as the whole', async () => {
  const summands = [1, 2].map(seed => element(randomTensor('float16', seed), 'm'))
  const source = new MeanSource({ name: 'w', dtype: 'float16', dims: [COUNT], summands }, 2)
  const whole = Buffer.from(await readAll(source))
  const random = Random.of(5)
  for (let i = 0; i < 40; i++) {
    const start = random.integer(whole.length)
    const length = random.integer(Math.min(300_000, whole.length - start + 1))
    const part = await source.read(start, length)
    assert.is(Buffer.compare(part, whole.subarray(start, start + length)), 0, `${start} + ${length}`)
  }
  const outside = await errorOf(source.read(whole.length, 1))
  assert.match(outside.message, 'mean of tensor "w"')
})

test('weights count, sums of other members are added, and nothing depends on the order', async () => {
  const tensors = [1, 2, 3, 4].map(seed => randomTensor('float32', seed))
  const weights = [1, 2, 5, 7]
  const all = tensors.map((tensor, k) => element(tensor, `m${k}`, weights[k]))
  const base = { name: 'w', dtype: 'float32' as const, dims: [COUNT] }
  const expected = await readAll(new MeanSource({ ...base, summands: all }, 15))
  const backwards = await readAll(new MeanSource({ ...base, summands: [...all].reverse() }, 15))
  assert.is(Buffer.compare(expected, backwards), 0)
  const group = { ...base, summands: [all[3]!, all[0]!] }
  const pairs = new Tensor('float64', [COUNT, 2], await readAll(new SumSource(group)))
  const sums: Summand = { kind: 'sums', member: 'part', pairs, tail: await tailOf(group) }
  const merged = await readAll(new MeanSource({ ...base, summands: [all[2]!, sums, all[1]!] }, 15))
  assert.is(Buffer.compare(expected, merged), 0)
})

test('a tail is found, in its block, and added back', async () => {
  const values = (x: number) => Float32Array.from({ length: COUNT }, (_, i) => (i === BLOCK + 3 ? x : 1))
  const tensors = [2 ** 127, 2 ** -149, 1, 2 ** 60].map(x => Tensor.of('float32', [COUNT], values(x)))
  const base = { name: 'w', dtype: 'float32' as const, dims: [COUNT] }
  const group = { ...base, summands: tensors.map(tensor => element(tensor, 'm')) }
  const tail = await tailOf(group)
  assert.equal(tail, { indices: [BLOCK + 3, BLOCK + 3], values: [1, 2 ** -149] })
  const pairs = new Tensor('float64', [COUNT, 2], await readAll(new SumSource(group)))
  const huge = element(Tensor.of('float32', [COUNT], values(-(2 ** 127))), 'm')
  const large = element(Tensor.of('float32', [COUNT], values(-(2 ** 60))), 'm')
  const one = element(Tensor.of('float32', [COUNT], values(-1)), 'm')
  const summands: Summand[] = [huge, { kind: 'sums', member: 'part', pairs, tail }, large, one]
  const source = new MeanSource({ ...base, summands }, 1)
  const mean = new Tensor('float32', [COUNT], await readAll(source)).view()
  assert.is(mean[BLOCK + 3], 2 ** -149)
  assert.is(mean[BLOCK + 4], 7)
})

test('a value that is not finite is refused with file, tensor, index and place', async () => {
  const bad = new Float32Array(COUNT)
  bad[BLOCK + 7] = NaN
  const dims = [COUNT / 2, 2]
  const summands = [
    element(randomTensor('float32', 1), 'a.onnx'),
    element(Tensor.of('float32', [COUNT], bad), 'b.onnx'),
  ]
  const error = await errorOf(readAll(new MeanSource({ name: 'w', dtype: 'float32', dims, summands }, 2)))
  assert.is(
    error.message,
    `average: b.onnx: tensor "w" float32[66153,2], element 65543 at [32771,1]: expected a finite number, found NaN`,
  )
})

test('an empty tensor has an empty mean', async () => {
  const summands = [element(Tensor.of('float32', [0, 3], []), 'm')]
  const source = new MeanSource({ name: 'w', dtype: 'float32', dims: [0, 3], summands }, 1)
  assert.is((await readAll(source)).byteLength, 0)
  assert.equal(await tailOf({ name: 'w', dtype: 'float32', dims: [0, 3], summands }), {
    indices: [],
    values: [],
  })
})

test.run()
