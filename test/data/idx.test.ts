/** The IDX reader, with files typed byte by byte. */

import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { loadUnpacked } from '../../src/data/bytes.ts'
import { decodeIdx, isIdx, loadIdx } from '../../src/data/idx.ts'
import { assertFails, idxBytes, writeTree } from './files.ts'

test('reads bytes, row-major', () => {
  const { dims, data, integer } = decodeIdx(idxBytes(0x08, [2, 2, 3], [...Array(12).keys()]), 'a')
  assert.equal(dims, [2, 2, 3])
  assert.equal(data, Uint8Array.from(Array(12).keys()))
  assert.ok(integer)
})

const types: [string, number, number[], ArrayLike<number>][] = [
  ['signed bytes', 0x09, [255, 5], Int32Array.of(-1, 5)],
  ['shorts', 0x0b, [1, 2, 0xff, 0xfe], Int32Array.of(258, -2)],
  ['ints', 0x0c, [0, 0, 1, 0, 0xff, 0xff, 0xff, 0xff], Int32Array.of(256, -1)],
  ['floats', 0x0d, [0x3f, 0x80, 0, 0, 0xc0, 0, 0, 0], Float32Array.of(1, -2)],
  ['doubles', 0x0e, [0x3f, 0xf0, 0, 0, 0, 0, 0, 0, 0xc0, 0, 0, 0, 0, 0, 0, 0], Float32Array.of(1, -2)],
]

for (const [what, type, elements, expected] of types)
  test(`reads big-endian ${what}`, () =>
    assert.equal(decodeIdx(idxBytes(type, [2], elements), 'a').data, expected))

test('reads files, gzipped whatever their name', async () => {
  const bytes = idxBytes(0x08, [3], [7, 8, 9])
  const root = writeTree({ plain: bytes, packed: gzipSync(bytes) })
  for (const name of ['plain', 'packed'])
    assert.equal((await loadIdx(join(root, name))).data, Uint8Array.of(7, 8, 9), name)
})

test('is told from other files by its magic', () => {
  assert.ok(isIdx(Uint8Array.of(0, 0, 8, 3)))
  for (const bytes of [[], [0, 0, 8], [0, 0, 0x0a, 1], [0, 1, 8, 1]])
    assert.not(isIdx(Uint8Array.from(bytes)))
})

const hostile: [string, Uint8Array, string][] = [
  ['a cut magic', Uint8Array.of(0, 0, 8), 'a: IDX header needs 4 bytes, found 3'],
  [
    'another magic',
    Uint8Array.of(0x89, 0x50, 0x4e, 0x47),
    'a: expected an IDX magic such as 0x00000803, found 0x89504e47',
  ],
  ['no dims', idxBytes(0x08, [], [1]), 'a: IDX header with 0 dims needs 4 bytes, found 5'],
  [
    'cut dims',
    idxBytes(0x08, [1, 1], []).subarray(0, 11),
    'a: IDX header with 2 dims needs 12 bytes, found 11',
  ],
  ['too few elements', idxBytes(0x0b, [2, 2], [1, 2, 3]), 'a: IDX dims [2,2] need 8 bytes, found 3'],
  ['trailing bytes', idxBytes(0x08, [2], [1, 2, 3]), 'a: IDX dims [2] need 2 bytes, found 3'],
  [
    'dims beyond all memory',
    idxBytes(0x08, [0xffffffff, 0xffffffff], [1]),
    'a: IDX dims [4294967295,4294967295] need 18446744065119617000 bytes, found 1',
  ],
]

for (const [what, bytes, message] of hostile)
  test(`refuses ${what}`, () => assertFails(() => decodeIdx(bytes, 'a'), message))

test('refuses damaged and oversized gzip', async () => {
  const packed = gzipSync(idxBytes(0x08, [3], [7, 8, 9]))
  const root = writeTree({ cut: packed.subarray(0, -3), large: packed })
  await assertFails(() => loadIdx(join(root, 'cut')), '/cut: gzip: unexpected end of file', { root })
  await assertFails(() => loadUnpacked(join(root, 'large'), 8), '/large: gzip: unpacks to more than 8 B', {
    root,
  })
})

test.run()
