/** Elements of every type and in every field, against what the standard's own library reads. */

import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { deserializeModel, loadModel } from '../../src/serde/index.ts'
import { decodeVarints, encodeVarints } from '../../src/serde/typed-data.ts'
import { VarintSource } from '../../src/serde/varint-source.ts'
import { DTYPES, type DType } from '../../src/tensor/dtype.ts'
import { MemorySource } from '../../src/tensor/source.ts'
import type { Tensor } from '../../src/tensor/tensor.ts'
import { Random } from '../../src/util/random.ts'
import { errorOf } from '../support/errors.ts'
import { FIXTURES } from './support/files.ts'

interface Expected {
  dtype: number
  dims: number[]
  bytes?: number
  sha256?: string
  strings?: string[]
}

async function check(tensor: Tensor, expected: Expected, name: string): Promise<void> {
  assert.is(DTYPES[tensor.dtype].onnx, expected.dtype, name)
  assert.equal(tensor.dims, expected.dims, name)
  if (expected.strings) {
    const strings = (tensor.data as readonly Uint8Array[]).map(bytes => Buffer.from(bytes).toString())
    assert.equal(strings, expected.strings, name)
  } else {
    const bytes = await tensor.bytes()
    assert.is(bytes.byteLength, expected.bytes, name)
    assert.is(createHash('sha256').update(bytes).digest('hex'), expected.sha256, name)
  }
}

for (const json of readdirSync(FIXTURES).filter(name => name.endsWith('.json'))) {
  const path = join(FIXTURES, `${basename(json, '.json')}.onnx`)
  const expected = JSON.parse(readFileSync(join(FIXTURES, json), 'utf8')) as Record<string, Expected>

  test(`${basename(path)}: tensors equal those of onnx.numpy_helper, from disk and from memory`, async () => {
    const file = await loadModel(path)
    const model = await deserializeModel(readFileSync(path), path)
    for (const { graph } of [file.model, model]) {
      assert.is(graph.initializers.length, Object.keys(expected).length)
      for (const { name, tensor } of graph.initializers) await check(tensor!, expected[name]!, name)
    }
    await file.close()
  })
}

test('big tensors stay in the file, small ones and those of a model in memory are at hand', async () => {
  const path = join(FIXTURES, 'dtypes.onnx')
  const file = await loadModel(path)
  const find = (name: string) => file.model.graph.initializers.find(value => value.name === name)!.tensor!
  for (const name of ['float_large_raw', 'float_large_typed', 'float16_large_typed', 'int64_large_typed']) {
    assert.not(find(name).resident, name)
  }
  for (const name of ['float_small_raw', 'float16_small_typed', 'string_4', 'empty', 'scalar']) {
    assert.ok(find(name).resident, name)
  }
  const model = await deserializeModel(readFileSync(path))
  assert.ok(model.graph.initializers.every(value => value.tensor!.resident))
  await file.close()
  assert.ok(
    (await errorOf(find('float_large_raw').bytes()).catch((error: unknown) => error)) instanceof Error,
  )
})

test('varints: packed -> encoded -> packed for every width, with extremes', () => {
  const random = Random.of(3)
  const types: DType[] = ['int8', 'uint8', 'int16', 'float16', 'int32', 'uint32', 'int64', 'uint64', 'int4']
  for (const dtype of types) {
    const width = Math.max(1, DTYPES[dtype].bits / 8)
    const packed = Uint8Array.from({ length: width * 300 }, () => random.integer(256))
    packed
      .fill(0xff, 0, width)
      .fill(0, width, 2 * width)
      .fill(0, 2 * width, 3 * width)
    packed[3 * width - 1] = 0x80
    const encoded = encodeVarints(packed, dtype)
    assert.equal(decodeVarints(encoded, width, 300, dtype), packed, dtype)
  }
})

test('varints: narrow numbers may be written signed or unsigned, others that do not fit are refused', async () => {
  const minusOne = Uint8Array.of(255, 255, 255, 255, 255, 255, 255, 255, 255, 1)
  assert.equal(decodeVarints(minusOne, 2, 1, 't'), Uint8Array.of(255, 255))
  assert.equal(decodeVarints(Uint8Array.of(255, 255, 3), 2, 1, 't'), Uint8Array.of(255, 255))
  const cases: [Uint8Array, number, number, string][] = [
    [Uint8Array.of(128, 128, 4), 2, 1, 't: number 0 of its typed data is 65536, beyond 16 bits'],
    [
      Uint8Array.of(128, 128, 128, 128, 16),
      4,
      1,
      't: number 0 of its typed data is 4294967296, beyond 32 bits',
    ],
    [Uint8Array.of(5, 6), 1, 1, 't: its typed data has more than the expected 1 numbers'],
    [Uint8Array.of(5), 1, 2 ** 40, 't: expected 1099511627776 numbers in its typed data, found 1 bytes'],
    [Uint8Array.of(5, 128), 1, 2, 't: the number at byte 1 of its typed data has no end'],
  ]
  for (const [bytes, width, count, message] of cases) {
    assert.is((await errorOf(() => decodeVarints(bytes, width, count, 't'))).message, message)
  }
})

test('varints in a file: any range of a tensor of many blocks', async () => {
  const random = Random.of(4)
  const count = 200_000
  const packed = new Uint8Array(Uint16Array.from({ length: count }, () => random.integer(65536)).buffer)
  const encoded = encodeVarints(packed, 'float16')
  const source = new MemorySource(Buffer.concat([Buffer.alloc(7), encoded]))
  const range = { source, offset: 7, length: encoded.byteLength }
  const lazy = await VarintSource.open('t', range, 2, count)
  assert.is(lazy.byteLength, packed.byteLength)
  for (const [offset, length] of [
    [0, 400_000],
    [0, 1],
    [131_071, 3],
    [131_072, 131_072],
    [399_999, 1],
    [5, 0],
  ]) {
    const found = await lazy.read(offset!, length!)
    assert.ok(Buffer.compare(found, packed.subarray(offset, offset! + length!)) === 0, `${offset} ${length}`)
  }
  const short = await errorOf(VarintSource.open('t', range, 2, count + 1))
  assert.is(short.message, 't: expected 200001 numbers in its typed data, found 200000')
})

test.run()
