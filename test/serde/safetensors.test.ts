/** safetensors: what is written is read, the bytes depend on the content alone, and no broken promise is believed. */

import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { openSafetensors, writeSafetensors } from '../../src/serde/index.ts'
import { byteLengthOf, type DType } from '../../src/tensor/dtype.ts'
import { MemorySource } from '../../src/tensor/source.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { Random } from '../../src/util/random.ts'
import { errorOf } from '../support/errors.ts'
import { FIXTURES, inFolder } from './support/files.ts'

const DTYPES: DType[] = [
  ...(['float64', 'float32', 'float16', 'bfloat16', 'float8e4m3fn', 'float8e5m2', 'bool'] as const),
  ...(['int64', 'int32', 'int16', 'int8', 'uint64', 'uint32', 'uint16', 'uint8'] as const),
]

function sample(dtype: DType, dims: readonly number[], seed: number): Tensor {
  const random = Random.of(seed)
  const size = dims.reduce((a, b) => a * b, 1)
  return new Tensor(
    dtype,
    dims,
    Uint8Array.from({ length: byteLengthOf(dtype, size) }, () => random.integer(2)),
  )
}

test('every type, streamed or resident, is read back; the order of entries does not matter', () =>
  inFolder(async folder => {
    const entries = DTYPES.map((dtype, i): [string, Tensor] => [`t.${i}`, sample(dtype, [3, 5], i)])
    entries.push(
      ['empty', sample('float32', [0, 4], 0)],
      ['scalar', sample('float64', [], 1)],
      ['ü 10', sample('int8', [1], 2)],
    )
    entries.push(
      ['__proto__', sample('int8', [3], 3)],
      ['10', sample('int8', [2], 4)],
      ['9', sample('int8', [2], 5)],
    )
    const metadata = new Map([
      ['z', '1'],
      ['a', 'line\n"quote" ü'],
    ])
    const [a, b] = ['a', 'b'].map(name => join(folder, name))
    await writeSafetensors(a!, entries, metadata)
    const file = await openSafetensors(a!)
    assert.equal(file.metadata, new Map([...metadata].sort()))
    assert.is(file.tensors.size, entries.length)
    for (const [name, tensor] of entries) {
      const found = file.tensors.get(name)!
      assert.is(found.dtype, tensor.dtype)
      assert.equal(found.dims, tensor.dims)
      assert.ok(Buffer.compare(await found.bytes(), await tensor.bytes()) === 0, name)
    }
    const streamed = await Promise.all(
      [...entries].reverse().map(async ([name, tensor]) => {
        const { dtype, dims } = tensor
        return [name, { dtype, dims, source: new MemorySource(await tensor.bytes()) }] as const
      }),
    )
    await writeSafetensors(b!, streamed, new Map([...metadata].reverse()))
    assert.ok(Buffer.compare(readFileSync(a!), readFileSync(b!)) === 0, 'same bytes')
    await file.close()
    await writeSafetensors(a!, [])
    const empty = await openSafetensors(a!)
    assert.is(empty.tensors.size, 0)
    await empty.close()
  }))

test('a file of the reference implementation', async () => {
  const path = join(FIXTURES, '..', 'models', 'mlp-ts', 'reference.safetensors')
  const file = await openSafetensors(path)
  assert.ok(file.tensors.size > 10)
  for (const tensor of file.tensors.values()) assert.is((await tensor.bytes()).byteLength, tensor.byteLength)
  await file.close()
})

test('the layout is as documented: wide types first, then names; data at a multiple of 8', () =>
  inFolder(async folder => {
    const path = join(folder, 'f')
    await writeSafetensors(path, [
      ['b', sample('uint8', [1], 0)],
      ['c', sample('float64', [1], 0)],
      ['a', sample('uint8', [1], 0)],
    ])
    const bytes = readFileSync(path)
    const length = Number(bytes.readBigUInt64LE())
    assert.is((8 + length) % 8, 0)
    assert.is(
      bytes.toString('utf8', 8, 8 + length).trimEnd(),
      '{"c":{"dtype":"F64","shape":[1],"data_offsets":[0,8]},"a":{"dtype":"U8","shape":[1],"data_offsets":[8,9]},"b":{"dtype":"U8","shape":[1],"data_offsets":[9,10]}}',
    )
  }))

test('refused on write: a name twice, a reserved name, a type without name, a wrong length', () =>
  inFolder(async folder => {
    const path = join(folder, 'f')
    const t = sample('int8', [2], 0)
    const cases: [[string, Tensor | { dtype: DType; dims: number[]; source: MemorySource }][], RegExp][] = [
      [
        [
          ['a', t],
          ['a', t],
        ],
        /two tensors are named "a"/,
      ],
      [[['__metadata__', t]], /this name is reserved/],
      [
        [['a', sample('complex64', [1], 0)]],
        /tensor "a" complex64\[1\]: safetensors has no such element type/,
      ],
      [
        [['a', { dtype: 'int8', dims: [3], source: new MemorySource(new Uint8Array(2)) }]],
        /expected 3 bytes, found 2/,
      ],
    ]
    for (const [entries, message] of cases) {
      assert.match((await errorOf(writeSafetensors(path, entries))).message, message)
      assert.equal(readdirSync(folder), [])
    }
  }))

/** A file with any header. */
function file(header: unknown, data = 4): Buffer {
  const json = Buffer.from(typeof header === 'string' ? header : JSON.stringify(header))
  const bytes = Buffer.alloc(8 + json.length + data)
  bytes.writeBigUInt64LE(BigInt(json.length))
  bytes.set(json, 8)
  return bytes
}

const entry = (begin: number, end: number, rest: object = {}) => ({
  dtype: 'F32',
  shape: [(end - begin) / 4],
  data_offsets: [begin, end],
  ...rest,
})

function lengthOnly(length: bigint): Buffer {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64LE(length)
  return bytes
}

const ATTACKS: [string, Buffer, RegExp][] = [
  ['too short', Buffer.alloc(7), /7 bytes are too few for a header/],
  ['header of 2^63 bytes', lengthOnly(2n ** 63n), /a header of 9223372036854775808 bytes exceeds 100000000/],
  ['header longer than the file', lengthOnly(64n), /a header of 64 bytes does not fit into 8/],
  ['empty header', lengthOnly(0n), /the header does not start with \{/],
  ['space before the header', file(' {}', 0), /does not start with \{/],
  ['not JSON', file('{"a":', 0), /not a valid safetensors file: .*JSON/],
  ['not UTF-8', file('{}', 0).fill(0xff, 9, 10), /not a valid safetensors file/],
  ['a hole at the start', file({ a: entry(4, 8) }, 8), /tensor "a" starts at byte 4 of the data, expected 0/],
  [
    'a hole between',
    file({ a: entry(0, 4), b: entry(8, 12) }, 12),
    /tensor "b" starts at byte 8 of the data, expected 4/,
  ],
  [
    'an overlap',
    file({ a: entry(0, 8), b: entry(4, 8) }, 8),
    /tensor "b" starts at byte 4 of the data, expected 8/,
  ],
  [
    'the same range twice',
    file({ a: entry(0, 4), b: entry(0, 4) }),
    /tensor "b" starts at byte 0 of the data, expected 4/,
  ],
  ['trailing bytes', file({ a: entry(0, 4) }, 5), /end at byte 4 of the data, which has 5/],
  ['missing bytes', file({ a: entry(0, 8) }, 4), /end at byte 8 of the data, which has 4/],
  [
    'a tensor twice',
    file(
      '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"\\u0061":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
    ),
    /has the key "\\u0061" twice/,
  ],
  [
    'a key of a tensor twice',
    file('{"a":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}}'),
    /has the key "dtype" twice/,
  ],
  [
    'shape and length differ',
    file({ a: entry(0, 4, { shape: [2] }) }),
    /tensor "a" float32\[2\] needs 8 bytes, its data_offsets span 4/,
  ],
  [
    'a shape that overflows',
    file({ a: entry(0, 4, { shape: [2 ** 40, 2 ** 40, 2 ** 40] }) }),
    /needs .* bytes, its data_offsets span 4/,
  ],
  ['a negative dimension', file({ a: entry(0, 4, { shape: [-1] }) }), /has the impossible shape \[-1\]/],
  ['a fraction', file({ a: entry(0, 4, { shape: [0.5] }) }), /has the impossible shape/],
  ['offsets that run backwards', file({ a: entry(0, 4, { data_offsets: [4, 0] }) }), /data_offsets span -4/],
  ['three offsets', file({ a: entry(0, 4, { data_offsets: [0, 4, 4] }) }), /has the impossible data_offsets/],
  ['an unknown type', file({ a: entry(0, 4, { dtype: 'F33' }) }), /has the unsupported dtype "F33"/],
  [
    'a type from the prototype',
    file({ a: entry(0, 4, { dtype: 'constructor' }) }),
    /has the unsupported dtype "constructor"/,
  ],
  ['an unknown key', file({ a: entry(0, 4, { more: 1 }) }), /has the unknown key "more"/],
  ['no object', file({ a: 1 }), /tensor "a" is not described by an object/],
  ['metadata that is no text', file({ __metadata__: { a: 1 } }, 0), /__metadata__ is not a map of strings/],
  [
    'a string of ten million characters',
    file(`{"${'x'.repeat(10_000_000)}":1}`, 0),
    /is not described by an object/,
  ],
]

for (const [what, bytes, message] of ATTACKS) {
  test(`refused: ${what}`, () =>
    inFolder(async folder => {
      const path = join(folder, 'f.safetensors')
      writeFileSync(path, bytes)
      const error = await errorOf(openSafetensors(path))
      assert.match(error.message, message)
      assert.is(error.exitCode, 3)
    }))
}

test.run()
