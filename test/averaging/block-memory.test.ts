/** The vector kernels: every 16-bit number, hashes, and the committed module. (Sums and means: exact.test.ts.) */

import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { BlockMemory } from '../../src/averaging/block-memory.ts'
import { xxh64 } from '../../src/averaging/xxh64.ts'
import { bfloat16ToNumber, float16ToNumber } from '../../src/tensor/dtype.ts'

const ROOT = join(import.meta.dirname, '../..')
const memory = BlockMemory.create()!

test('this machine has the vector instructions', () => {
  assert.ok(memory)
})

test('every 16-bit number, times a weight, is added or left to the plain kernels', () => {
  for (const [dtype, decode] of [
    ['float16', float16ToNumber],
    ['bfloat16', bfloat16ToNumber],
  ] as const) {
    const codes = Uint16Array.from({ length: 65536 }, (_, code) => code)
    memory.members[0]!.set(new Uint8Array(codes.buffer))
    memory.high.fill(-0)
    const spilled = new Set(memory.addGroup(dtype, codes.length, [3]))
    for (const code of codes) {
      const value = decode(code)
      assert.is(spilled.has(code), !Number.isFinite(value), `${dtype} ${code}`)
      const expected = Number.isFinite(value) ? 3 * value : -0
      assert.ok(Object.is(memory.high[code], expected), `${dtype} ${code}: ${memory.high[code]}`)
    }
  }
})

/** Of bytes (31 i + 7) mod 256, by the reference implementation (xxhash 0.8.3, through its Python module). */
const HASHES: readonly (readonly [number, string])[] = [
  [0, 'ef46db3751d8e999'],
  [1, 'a96c7f0ce858bbb7'],
  [3, '56e6957632a487f9'],
  [4, 'c60d15b1e3ff8f04'],
  [7, 'afbefc3d6c6f9a8e'],
  [8, '3da5c7aa269683e0'],
  [15, 'ae2a37eb9357caa7'],
  [31, '4a74f3a1a39ad4a1'],
  [32, '8d57d6a4671cc43d'],
  [33, '62c9fd21ed857664'],
  [63, '5c320a0d2707057f'],
  [64, '7bbabbc45729d17e'],
  [100, 'efa0ad2d3e70c151'],
  [1000, '99594f4828043d35'],
  [65536, 'ce06607392c5113f'],
]

test('XXH64 is that of the reference implementation, in both kinds of kernels', () => {
  for (const [length, expected] of HASHES) {
    const bytes = Uint8Array.from({ length }, (_, i) => i * 31 + 7)
    memory.members[1]!.set(bytes, 5)
    const [vector, plain] = [BigInt.asUintN(64, memory.hash(1, 5, length)), xxh64(bytes)]
    assert.is(vector.toString(16).padStart(16, '0'), expected, `${length} bytes`)
    assert.is(plain.toString(16).padStart(16, '0'), expected, `${length} bytes, plain`)
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
