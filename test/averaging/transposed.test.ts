/** Transposing on the way: every range of the result, in memory and through a file, against plain indexing. */

import { readdirSync } from 'node:fs'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { Transposer, type MatrixShape } from '../../src/averaging/transposed.ts'
import { MemorySource, type ByteSource } from '../../src/tensor/source.ts'
import { Random } from '../../src/util/random.ts'
import { messageOf } from '../../src/util/errors.ts'
import { errorOf } from '../support/errors.ts'
import { withFolder } from './support/folder.ts'

const test = suite('averaging: transposed')

/** Bytes that are no numbers: those of a NaN must come through as well. */
function bytesOf({ rows, columns, width }: MatrixShape, seed = 1): Uint8Array {
  const random = Random.of(seed)
  return Uint8Array.from({ length: rows * columns * width }, () => random.integer(256))
}

function transposed(bytes: Uint8Array, { rows, columns, width }: MatrixShape): Uint8Array {
  const result = new Uint8Array(bytes.length)
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < columns; j++) {
      const at = (i * columns + j) * width
      result.set(bytes.subarray(at, at + width), (j * rows + i) * width)
    }
  }
  return result
}

/** A source that counts the bytes read, and hands out memory that is not aligned. */
function counted(bytes: Uint8Array): ByteSource & { bytesRead: number } {
  const source = {
    name: 'given',
    byteLength: bytes.byteLength,
    bytesRead: 0,
    read: (offset: number, length: number) => {
      source.bytesRead += length
      const shifted = new Uint8Array(length + 1)
      shifted.set(bytes.subarray(offset, offset + length), 1)
      return Promise.resolve(shifted.subarray(1))
    },
    close: () => Promise.resolve(),
  }
  return source
}

const SHAPES: readonly MatrixShape[] = [
  { rows: 7, columns: 5, width: 4 },
  { rows: 33, columns: 67, width: 2 },
  { rows: 41, columns: 9, width: 8 },
  { rows: 5, columns: 3, width: 1 },
  { rows: 3, columns: 4, width: 16 },
  { rows: 1, columns: 11, width: 4 },
  { rows: 11, columns: 1, width: 2 },
]

test('all ranges, those that begin inside an element too, in memory and from a file', async () => {
  await withFolder(async file => {
    for (const shape of SHAPES) {
      const bytes = bytesOf(shape)
      const expected = transposed(bytes, shape)
      const row = shape.columns * shape.width
      // Bands of several rows, of one row, and rows in several pieces.
      for (const limits of [
        {},
        { small: 0, band: 3 * row },
        { small: 0, band: row },
        { small: 0, band: 3 },
      ]) {
        const transposer = new Transposer(file('out'), limits)
        const given = counted(bytes)
        const source = transposer.transpose(given, shape)
        assert.is(source.byteLength, bytes.length)
        const step = Math.max(1, Math.floor(bytes.length / 17))
        for (let from = 0; from < bytes.length; from += step) {
          for (let to = from; to <= bytes.length; to += step) {
            const found = await source.read(from, to - from)
            if (!Buffer.from(found).equals(expected.subarray(from, to)))
              assert.unreachable(`${JSON.stringify({ shape, limits })}: bytes ${from} to ${to} differ`)
          }
        }
        assert.is(given.bytesRead, bytes.length, 'the source is read once')
        await transposer.close()
        assert.equal(readdirSync(file('')), [])
      }
    }
  })
})

test('one result is kept at a time, and made again when it is asked for again', async () => {
  await withFolder(async file => {
    const shape = { rows: 6, columns: 4, width: 4 }
    const [a, b] = [counted(bytesOf(shape, 1)), counted(bytesOf(shape, 2))]
    const transposer = new Transposer(file('out'), { small: 0 })
    const sources = [a, b].map(given => transposer.transpose(given, shape))
    const reads = [0, 1, 1, 0].map(i => sources[i]!.read(3, 40))
    const expected = [1, 2, 2, 1].map(seed => transposed(bytesOf(shape, seed), shape).subarray(3, 43))
    for (const [i, read] of reads.entries()) assert.ok(Buffer.from(await read).equals(expected[i]!))
    assert.equal([a.bytesRead, b.bytesRead], [2 * 96, 96])
    assert.is(readdirSync(file('')).length, 1)
    await transposer.close()
    assert.equal(readdirSync(file('')), [])
  })
})

test('a matrix without elements, a range outside, a source that fails', async () => {
  await withFolder(async file => {
    const transposer = new Transposer(file('out'), { small: 0 })
    const empty = { rows: 0, columns: 4, width: 4 }
    assert.is((await transposer.transpose(new MemorySource(new Uint8Array()), empty).read(0, 0)).length, 0)
    const shape = { rows: 2, columns: 2, width: 4 }
    const outside = transposer.transpose(new MemorySource(bytesOf(shape)), shape)
    const error = await errorOf(() => outside.read(8, 9))
    assert.match(error.message, /^transpose of memory: bytes 8 to 17 are wanted, but the file has 16$/)
    const broken = counted(bytesOf(shape))
    broken.read = () => Promise.reject(new Error('the disk is gone'))
    const failed = transposer.transpose(broken, shape).read(0, 4)
    assert.is(await failed.catch(messageOf), 'the disk is gone')
    // What failed does not stop the others.
    assert.is((await outside.read(0, 16)).length, 16)
    await transposer.close()
    assert.equal(readdirSync(file('')), [])
  })
})

test.run()
