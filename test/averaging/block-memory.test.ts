/** The vector kernels give the sums of the plain ones, to the last bit, whatever the elements. */

import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { BlockMemory, type VectorDType } from '../../src/averaging/block-memory.ts'
import { SumBlock, UnsummableValue } from '../../src/averaging/sum-block.ts'

const ROOT = join(import.meta.dirname, '../..')

/** Sums of some members by one kind of kernel: pairs and tail, or the element that has no place in a sum. */
function sums(dtype: VectorDType, members: readonly Member[], size: number, memory: BlockMemory | null) {
  const block = new SumBlock(size, memory)
  try {
    for (const { x, weight } of members) block.add(dtype, x, weight)
  } catch (error) {
    if (!(error instanceof UnsummableValue)) throw error
    return { index: error.index, value: String(error.value) }
  }
  const pairs = new Float64Array(2 * size)
  block.pairs(pairs)
  return { pairs: Buffer.from(pairs.buffer).toString('hex'), tail: block.tail() }
}

interface Member {
  readonly x: Float32Array | Uint16Array
  readonly weight: number
}

const SIZE = 64
const memory = BlockMemory.create(SIZE)!

test('this machine has the vector instructions', () => {
  assert.ok(memory)
})

/** Any bits: denormals, infinities and NaN come often enough. */
const anyFloats = (size: number) =>
  fc
    .array(fc.oneof(fc.nat(0xffffffff), fc.constantFrom(0, 1, 0x80000000, 0x3f800000, 0xff7fffff)), {
      minLength: size,
      maxLength: size,
    })
    .map(bits => new Float32Array(Uint32Array.from(bits).buffer))

/** Numbers of one size, as weights are, whose sums are exact. */
const usualFloats = (size: number) =>
  fc
    .array(fc.double({ min: -2, max: 2, noNaN: true }), { minLength: size, maxLength: size })
    .map(numbers => Float32Array.from(numbers))

const codes = (size: number) =>
  fc
    .array(fc.oneof(fc.nat(0x7bff), fc.nat(0xffff)), { minLength: size, maxLength: size })
    .map(list => Uint16Array.from(list))

const sized = fc.integer({ min: 1, max: SIZE })
const weights = fc.constantFrom(1, 2, 3, 1000, 2 ** 20)

for (const [dtype, elements] of [
  ['float32', anyFloats],
  ['float32', usualFloats],
  ['float16', codes],
  ['bfloat16', codes],
] as const) {
  test(`${dtype}: ${elements.name}`, () => {
    const member = (size: number) =>
      fc.record({ x: elements(size) as fc.Arbitrary<Member['x']>, weight: weights })
    const cases = sized.chain(size =>
      fc.tuple(fc.constant(size), fc.array(member(size), { minLength: 1, maxLength: 6 })),
    )
    fc.assert(
      fc.property(cases, ([size, members]) => {
        assert.equal(sums(dtype, members, size, memory), sums(dtype, members, size, null))
      }),
      { numRuns: 1500, seed: 11 },
    )
  })
}

test('every 16-bit number by itself', () => {
  for (const dtype of ['float16', 'bfloat16'] as const) {
    for (let first = 0; first < 65536; first += SIZE) {
      const x = Uint16Array.from({ length: SIZE }, (_, i) => first + i)
      const members = [{ x, weight: 3 }]
      assert.equal(
        sums(dtype, members, SIZE, memory),
        sums(dtype, members, SIZE, null),
        `${dtype} from ${first}`,
      )
    }
  }
})

test('src/averaging/generated equals a fresh compilation (else: npm run kernels)', () => {
  const folder = mkdtempSync(join(tmpdir(), 'swa-kernels-'))
  try {
    const { status, stderr } = spawnSync(process.execPath, ['tools/build/kernels.mjs', '--out', folder], {
      cwd: ROOT,
      encoding: 'utf8',
    })
    assert.is(status, 0, stderr)
    for (const name of ['kernels.js', 'kernels.d.ts']) {
      const committed = readFileSync(join(ROOT, 'src/averaging/generated', name), 'utf8')
      assert.is(readFileSync(join(folder, name), 'utf8'), committed)
    }
  } finally {
    rmSync(folder, { recursive: true })
  }
})

test.run()
