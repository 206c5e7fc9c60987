/** What stands for Node's modules in the browser's bundle. */

import { createHash as native } from 'node:crypto'
import { endianness as nativeEndianness } from 'node:os'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { createHash } from '../../src/browser/builtins/crypto.ts'
import { availableParallelism, endianness } from '../../src/browser/builtins/os.ts'

/** FIPS 180-2, appendix B, and the empty message. */
const VECTORS: readonly (readonly [message: string, digest: string])[] = [
  ['', 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'],
  ['abc', 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad'],
  [
    'abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq',
    '248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1',
  ],
  ['a'.repeat(1_000_000), 'cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0'],
]

test('SHA-256 gives the digests of its standard', () => {
  for (const [message, digest] of VECTORS) {
    assert.is(createHash('sha256').update(message).digest('hex'), digest, message.slice(0, 60))
  }
})

test("SHA-256 agrees with Node's at every length around a block, in one piece and in pieces", () => {
  for (let length = 0; length <= 200; length++) {
    const bytes = Uint8Array.from({ length }, (_, i) => (i * 37 + length) & 255)
    const wanted = native('sha256').update(bytes).digest('hex')
    assert.is(createHash('sha256').update(bytes).digest('hex'), wanted, `${length} bytes`)
    const pieces = createHash('sha256')
    for (let at = 0; at < length; at += 7) pieces.update(bytes.subarray(at, at + 7))
    assert.is(pieces.digest('hex'), wanted, `${length} bytes in pieces of 7`)
  }
})

test('SHA-256 takes the bytes of a view, not of its buffer, and of any element type', () => {
  const floats = Float32Array.of(0, 1.5, -2, 3).subarray(1, 3)
  const wanted = native('sha256').update(floats).digest('hex')
  assert.is(createHash('sha256').update(floats).digest('hex'), wanted)
})

test('other hashes are refused', () => {
  assert.throws(() => createHash('md5'), /no hash md5/)
})

test('the machine is little-endian here as Node says it, and has a processor', () => {
  assert.is(endianness(), nativeEndianness())
  assert.ok(availableParallelism() >= 1)
})

test.run()
