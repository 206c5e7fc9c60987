/** Damaged and hostile files: one clear error, never a crash, a hang or memory without bound. */

import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { Model } from '../../src/ir/graph.ts'
import { deserializeModel, loadModel, serializeModel } from '../../src/serde/index.ts'
import { encodeField, encodeTag, encodeVarint, GROUP_START, VARINT } from '../../src/serde/wire.ts'
import { SwaError } from '../../src/util/errors.ts'
import { Random } from '../../src/util/random.ts'
import { errorOf } from '../support/errors.ts'
import { FIXTURES, inFolder } from './support/files.ts'

const MODELS = ['everything', 'subgraphs', 'functions', 'fragments', 'ir3'].map(name => `${name}.onnx`)

/** Reads bytes; anything but a model or an error about the input fails the test. */
async function readSafely(bytes: Uint8Array, what: string): Promise<Model | null> {
  try {
    return await deserializeModel(bytes, 'm')
  } catch (error) {
    assert.ok(error instanceof SwaError, `${what}: ${String(error)}`)
    assert.is(error.exitCode, 3, `${what}: ${error.message}`)
    return null
  }
}

for (const name of MODELS) {
  const bytes = readFileSync(join(FIXTURES, name))

  test(`${name}: cut at every 37th byte`, async () => {
    let refused = 0
    for (let length = 0; length < bytes.length; length += 37) {
      if (!(await readSafely(bytes.subarray(0, length), `${length} bytes`))) refused++
    }
    // The graph is one field near the start: nearly every cut ends inside it.
    assert.ok(refused >= (bytes.length / 37) * 0.9, `${refused} refused`)
  })

  test(`${name}: 400 random mutations (seed 11); what can be read can be written and read again`, async () => {
    for (let round = 0; round < 400; round++) {
      const random = Random.of(11, round)
      const mutated = Uint8Array.from(bytes)
      for (let i = random.integer(4); i >= 0; i--) {
        const at = random.integer(mutated.length)
        mutated[at] = random.integer(2) === 0 ? random.integer(256) : mutated[at]! ^ (1 << random.integer(8))
      }
      const model = await readSafely(mutated, `round ${round}`)
      if (model === null) continue
      const written = await serializeModel(model)
      const again = await serializeModel(await deserializeModel(written, `round ${round}`))
      assert.ok(Buffer.compare(written, again) === 0, `round ${round}`)
    }
  })
}

test('a file cut at some bytes gives an error that names it', () =>
  inFolder(async folder => {
    const bytes = readFileSync(join(FIXTURES, 'dtypes.onnx'))
    const path = join(folder, 'cut.onnx')
    for (let length = 1; length < bytes.length; length += 37 * 701) {
      writeFileSync(path, bytes.subarray(0, length))
      const error = await errorOf(loadModel(path))
      assert.match(error.message, /cut\.onnx: not (a valid ONNX file|an ONNX model)/)
    }
  }))

const graphOf = (...fields: Uint8Array[]) =>
  Buffer.concat([encodeTag(1, VARINT), encodeVarint(8), encodeField(7, Buffer.concat(fields))])

/** A field of bytes whose length says more than there is. */
const bomb = (length: readonly number[]) => Buffer.from([0x3a, ...length])

function nest(levels: number, wrap: (inner: Uint8Array) => Uint8Array): Uint8Array {
  let bytes: Uint8Array = new Uint8Array(0)
  for (let i = 0; i < levels; i++) bytes = wrap(bytes)
  return bytes
}

const ATTACKS: [string, () => Uint8Array, RegExp][] = [
  [
    'a length of 2^34',
    () => bomb([0x80, 0x80, 0x80, 0x80, 0x40]),
    /ends at byte 17179869190, its message at 6/,
  ],
  ['a length beyond 2^53', () => bomb([255, 255, 255, 255, 255, 255, 255, 255, 127]), /no valid length/],
  ['a length without end', () => bomb(Array<number>(30).fill(255)), /field 7 has no valid length/],
  [
    'a number without end',
    () => Buffer.from([8, ...Array<number>(30).fill(255)]),
    /field 1 has no valid number/,
  ],
  ['field number 0', () => Buffer.from([0, 1]), /no valid tag/],
  ['wire type 7', () => Buffer.from([15]), /unknown wire type 7/],
  ['a tag without end', () => Buffer.from([0xfa, 255, 255, 255, 255, 255]), /no valid tag/],
  ['the graph twice', () => Buffer.concat([graphOf(), graphOf()]), /field 7 occurs twice/],
  [
    'a group that does not end',
    () => graphOf(encodeTag(100, GROUP_START)),
    /in GraphProto: a group is not closed/,
  ],
  ['a group that ends twice', () => graphOf(encodeTag(100, 4)), /group 100 ends but did not start/],
  [
    '10,000 groups',
    () => graphOf(nest(10_000, inner => Buffer.concat([encodeTag(9, GROUP_START), inner]))),
    /100 groups/,
  ],
  [
    'a field that only we use',
    () => graphOf(encodeField(5, Buffer.concat([encodeTag(19000, VARINT), Buffer.of(1)]))),
    /field 19000 is reserved by protobuf/,
  ],
  [
    'sub-graphs 500 deep',
    () => graphOf(nest(500, inner => encodeField(1, encodeField(5, encodeField(6, inner))))),
    /100 messages inside one another/,
  ],
  [
    'types 500 deep',
    () =>
      graphOf(
        encodeField(
          11,
          encodeField(
            2,
            nest(500, inner => encodeField(4, encodeField(1, inner))),
          ),
        ),
      ),
    /100 messages inside one another/,
  ],
  [
    'five million nodes',
    () => graphOf(Buffer.alloc(10_000_000, Buffer.from([0x0a, 0]))),
    /more than 4194304 messages/,
  ],
  [
    'forty million dimensions',
    () => graphOf(encodeField(5, encodeField(1, Buffer.alloc(40_000_000)))),
    /more than 16777216 fields/,
  ],
  [
    'text that is not UTF-8',
    () => graphOf(encodeField(2, Buffer.from([0xff, 0xfe]))),
    /not a valid ONNX file/,
  ],
  [
    'text that is cut inside a character',
    () => graphOf(encodeField(10, Buffer.from('ü'.repeat(40)).subarray(0, 79))),
    /not a valid ONNX file/,
  ],
]

for (const [what, make, message] of ATTACKS) {
  test(`attack: ${what}`, async () => {
    const bytes = make()
    const started = performance.now()
    const error = await errorOf(deserializeModel(bytes, 'm'))
    assert.match(error.message, message)
    assert.is(error.exitCode, 3)
    assert.ok(performance.now() - started < 10_000, 'within ten seconds')
  })
}

test.run()
