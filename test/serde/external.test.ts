/** Data files: what the model may name, and what may be there. */

import { createHash } from 'node:crypto'
import { execFileSync } from 'node:child_process'
import { copyFileSync, linkSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { onnx } from '../../src/serde/generated/onnx.js'
import { loadModel } from '../../src/serde/index.ts'
import { errorOf } from '../support/errors.ts'
import { inFolder } from './support/files.ts'

const { EXTERNAL } = onnx.TensorProto.DataLocation

type Entries = Record<string, string> | [string, string][]

/** Writes a model whose float32[4] weight has the given external_data entries. */
function writeModel(folder: string, entries: Entries): string {
  const path = join(folder, 'm.onnx')
  const list = Array.isArray(entries) ? entries : Object.entries(entries)
  const external_data = list.map(([key, value]) => ({ key, value }))
  const bytes = onnx.ModelProto.encode({
    ir_version: 8,
    opset_import: [{ version: 17 }],
    graph: {
      name: 'g',
      node: [{ op_type: 'Add', input: ['x', 'w'], output: ['y'] }],
      input: [{ name: 'x' }],
      output: [{ name: 'y' }],
      initializer: [{ name: 'w', data_type: 1, dims: [4], data_location: EXTERNAL, external_data }],
    },
  }).finish()
  writeFileSync(path, bytes)
  return path
}

const DATA = Buffer.from(Float32Array.of(9, 1, 2, 3, 4, 9).buffer)

async function valuesOf(path: string): Promise<number[]> {
  const file = await loadModel(path)
  const tensor = await file.model.graph.initializers[0]!.tensor!.load()
  await file.close()
  return tensor.toNumbers()
}

test('offset and length, in this folder or one below, whatever else is stated', () =>
  inFolder(async folder => {
    mkdirSync(join(folder, 'sub'))
    for (const location of ['w.bin', './w.bin', 'sub/w.bin', 'sub/./w.bin', 'a..b']) {
      writeFileSync(join(folder, location), DATA)
      const path = writeModel(folder, { location, offset: '4', length: '16', basepath: '/etc', name: 'x' })
      assert.equal(await valuesOf(path), [1, 2, 3, 4], location)
    }
    assert.equal(await valuesOf(writeModel(folder, { location: 'w.bin' })), [9, 1, 2, 3])
  }))

test('a checksum is compared with the SHA-1 of the file', () =>
  inFolder(async folder => {
    writeFileSync(join(folder, 'w.bin'), DATA)
    const checksum = createHash('sha1').update(DATA).digest('hex').toUpperCase()
    assert.equal(
      await valuesOf(writeModel(folder, { location: 'w.bin', offset: '4', checksum })),
      [1, 2, 3, 4],
    )
    const path = writeModel(folder, { location: 'w.bin', checksum: '0'.repeat(40) })
    assert.match((await errorOf(loadModel(path))).message, /has SHA-1 .*, the model expects 0{40}/)
  }))

const OUTSIDE = 'in the folder of the model or below'

const LOCATIONS: [string, RegExp][] = [
  ['', /is empty/],
  ['/etc/passwd', /is absolute/],
  ['\\\\server\\share', /is absolute/],
  ['C:\\w.bin', /is absolute/],
  ['c:w.bin', /is absolute/],
  ['../w.bin', /leads out of its folder/],
  ['sub/../../w.bin', /leads out of its folder/],
  ['sub/../w.bin', /leads out of its folder/],
  ['..\\w.bin', /leads out of its folder/],
  ['..', /leads out of its folder/],
  ['w\0.bin', /contains a zero byte/],
  ['*/_ORT_MEM_ADDR_/*', /memory of another process/],
  ['.', /names no file/],
  ['sub/', /names no file/],
]

for (const [location, message] of LOCATIONS) {
  test(`refused location: ${JSON.stringify(location)}`, () =>
    inFolder(async folder => {
      const inner = join(folder, 'model')
      mkdirSync(join(inner, 'sub'), { recursive: true })
      writeFileSync(join(folder, 'w.bin'), DATA)
      writeFileSync(join(inner, 'w.bin'), DATA)
      const error = await errorOf(loadModel(writeModel(inner, { location })))
      assert.match(error.message, message)
      assert.match(error.message, /initializer "w": float32\[4\]: the external data location/)
      assert.match(error.cure!, OUTSIDE)
    }))
}

const FILES: [string, (path: string, other: string) => void, RegExp][] = [
  ['a symbolic link', (path, other) => symlinkSync(other, path), /is a symbolic link/],
  ['a dangling link', path => symlinkSync('nowhere', path), /is a symbolic link/],
  ['a hard link', (path, other) => linkSync(other, path), /has 2 hard links/],
  ['a folder', path => mkdirSync(path), /is not a regular file/],
  ['a pipe', path => execFileSync('mkfifo', [path]), /is not a regular file/],
  ['nothing', () => undefined, /cannot be read: ENOENT/],
]

for (const [what, make, message] of FILES) {
  test(`refused data file: ${what}`, () =>
    inFolder(async folder => {
      const inner = join(folder, 'model')
      mkdirSync(inner)
      writeFileSync(join(folder, 'secret'), DATA)
      make(join(inner, 'w.bin'), join(folder, 'secret'))
      const error = await errorOf(loadModel(writeModel(inner, { location: 'w.bin' })))
      assert.match(error.message, message)
    }))
}

test('refused: a folder on the way that is a link out of the model', () =>
  inFolder(async folder => {
    const inner = join(folder, 'model')
    mkdirSync(inner)
    mkdirSync(join(folder, 'other'))
    writeFileSync(join(folder, 'other', 'w.bin'), DATA)
    symlinkSync(join(folder, 'other'), join(inner, 'sub'))
    const error = await errorOf(loadModel(writeModel(inner, { location: 'sub/w.bin' })))
    assert.match(error.message, /lies outside the model's folder/)
  }))

const RANGES: [Entries, RegExp][] = [
  [{ location: 'w.bin', offset: '12' }, /bytes 12 to 28 of .*w\.bin are wanted, it has 24/],
  [{ location: 'w.bin', offset: '-4' }, /has the offset "-4", expected a number of bytes/],
  [{ location: 'w.bin', offset: '1e1' }, /has the offset "1e1"/],
  [{ location: 'w.bin', offset: '0x4' }, /has the offset "0x4"/],
  [{ location: 'w.bin', offset: '' }, /has the offset ""/],
  [{ location: 'w.bin', offset: '18446744073709551612' }, /has the offset "18446744073709551612"/],
  [{ location: 'w.bin', length: '15' }, /expected 16 bytes, external data states 15/],
  [{ location: 'w.bin', length: '9007199254740993' }, /has the length "9007199254740993"/],
  [
    [
      ['location', 'w.bin'],
      ['location', '../x'],
    ],
    /external data states location twice/,
  ],
  [{}, /location "" is empty/],
]

for (const [entries, message] of RANGES) {
  test(`refused: ${JSON.stringify(entries)}`, () =>
    inFolder(async folder => {
      writeFileSync(join(folder, 'w.bin'), DATA)
      assert.match((await errorOf(loadModel(writeModel(folder, entries)))).message, message)
    }))
}

test('a model that is itself a link: data files are looked for beside the link', () =>
  inFolder(async folder => {
    const inner = join(folder, 'model')
    mkdirSync(inner)
    const path = writeModel(inner, { location: 'w.bin', offset: '4' })
    writeFileSync(join(folder, 'w.bin'), DATA)
    symlinkSync(path, join(folder, 'link.onnx'))
    assert.equal(await valuesOf(join(folder, 'link.onnx')), [1, 2, 3, 4])
    copyFileSync(path, join(folder, 'copy.onnx'))
    assert.is(readFileSync(join(folder, 'copy.onnx')).length, readFileSync(path).length)
  }))

test.run()
