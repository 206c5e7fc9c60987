/** The npy reader: every npy/*.npy fixture as NumPy wrote it, and damaged or hostile files. */

import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { decodeNpy } from '../../src/data/npy.ts'
import { SwaError } from '../../src/util/errors.ts'
import { assertFails, FIXTURES } from './files.ts'

const folder = join(FIXTURES, 'npy')
const expected = JSON.parse(readFileSync(join(folder, 'expected.json'), 'utf8')) as Record<
  string,
  { dims: number[]; data: (number | string)[] }
>
const names = readdirSync(folder)
  .filter(name => name.endsWith('.npy'))
  .map(name => name.slice(0, -4))

for (const name of names) {
  test(`reads ${name} as NumPy wrote it`, () => {
    const array = decodeNpy(readFileSync(join(folder, `${name}.npy`)), name)
    const { dims, data } = expected[name]!
    assert.equal(array.dims, dims)
    const texts = typeof data[0] === 'string' && !data[0].includes('Infinity')
    assert.equal(
      Array.from<number | string>(array.data as ArrayLike<number | string>),
      texts ? data : Array.from(data, value => Math.fround(Number(value))),
    )
    assert.is(array.integer, /^(?:[iu]\d|bool|fortran-u2)/.test(name))
  })
}

test('every fixture has its expectation', () => {
  assert.equal([...names].sort(), Object.keys(expected).sort())
})

/** An npy file typed by hand. */
function npy(header: string, body: readonly number[] = [], version = 1): Uint8Array {
  const text = Buffer.from(header)
  const length = version === 1 ? [text.length & 255, text.length >> 8] : [text.length, 0, 0, 0]
  return Uint8Array.from([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, version, 0, ...length, ...text, ...body])
}

const good = "{'descr': '|u1', 'fortran_order': False, 'shape': (2,), }"
const of = (descr: string) => npy(`{'descr': ${descr}, 'fortran_order': False, 'shape': (2,)}`)

test('reads a header with other spacing, order, quotes and long numbers', () => {
  const header = `{"shape":(2L,1L),'fortran_order':True , 'descr':'=i2'}\n`
  assert.equal(decodeNpy(npy(header, [1, 0, 255, 255]), 'a').data, Int32Array.of(1, -1))
})

test('integers beyond int32 become float32', () => {
  const bytes = npy(good.replace('|u1', '<u4').replace('(2,)', '(1,)'), [255, 255, 255, 255])
  const array = decodeNpy(bytes, 'a')
  assert.equal(array.data, Float32Array.of(4294967296))
  assert.ok(array.integer)
})

const hostile: [string, Uint8Array, string][] = [
  ['an empty file', new Uint8Array(0), 'a.npy: expected the npy magic 934e554d5059, found nothing'],
  [
    'another file',
    Buffer.from('PK\x03\x04abcd'),
    'a.npy: expected the npy magic 934e554d5059, found 504b03046162',
  ],
  ['a later version', npy(good, [1, 2], 4), 'a.npy: npy version 4, expected 1 to 3'],
  ['a cut preamble', npy(good).subarray(0, 9), 'a.npy: the npy header is cut at byte 9'],
  ['a cut header', npy(good).subarray(0, 40), 'a.npy: the npy header needs 67 bytes, the file has 40'],
  ['code for a header', npy('__import__("os")'), 'a.npy: npy header is not a dict: __import__("os")'],
  [
    'code in a header',
    npy("{'descr': f(), 'fortran_order': False, 'shape': ()}"),
    "a.npy: npy header is malformed near: 'descr': f(), 'fortran_order': False, 's",
  ],
  [
    'a key too few',
    npy("{'descr': '|u1'}"),
    'a.npy: npy header has keys descr, expected descr, fortran_order, shape',
  ],
  ['a key twice', npy("{'descr': '|u1', 'descr': '|u1'}"), "a.npy: npy header has 'descr' twice"],
  [
    'a value of another kind',
    npy("{'descr': True, 'fortran_order': False, 'shape': ()}"),
    "a.npy: npy header has values of the wrong kind: {'descr': True, 'fortran_order': False, 'shape': ()}",
  ],
  [
    'dims beyond counting',
    npy("{'descr': '|u1', 'fortran_order': False, 'shape': (9999999999, 9999999999)}"),
    'a.npy: npy shape (9999999999, 9999999999) is malformed or too large',
  ],
  [
    'a named-column table',
    of("[('a', '<i4'), ('b', '<f4')]"),
    'a.npy: npy dtype is structured (a table with named columns)',
  ],
  [
    'pickled objects',
    of("'|O'"),
    'a.npy: npy dtype |O (Python objects, i.e. pickled code) is refused; save plain numbers',
  ],
  ['complex numbers', of("'<c8'"), 'a.npy: npy dtype <c8 (complex) is not supported'],
  ['raw bytes', of("'|V2'"), 'a.npy: npy dtype |V2 (raw bytes or bfloat16) is not supported; save float32'],
  [
    'long doubles',
    of("'<f16'"),
    "a.npy: npy dtype '<f16' is not supported, expected bool, int, uint, float16, float32 or float64",
  ],
  ['too few elements', npy(good, [1]), 'a.npy: npy |u1 [2] needs 2 bytes, found 1'],
  ['trailing bytes', npy(good, [1, 2, 3]), 'a.npy: npy |u1 [2] needs 2 bytes, found 3'],
]

for (const [what, bytes, message] of hostile)
  test(`refuses ${what}`, () => assertFails(() => decodeNpy(bytes, 'a.npy'), message))

test('damaged files give an error of ours or an array, never anything else', () => {
  const original = readFileSync(join(folder, 'fortran-f4.npy'))
  const damage = fc.array(fc.tuple(fc.nat(original.length - 1), fc.nat(255)), { maxLength: 4 })
  fc.assert(
    fc.property(damage, fc.nat(original.length), (changes, length) => {
      const bytes = Buffer.from(original.subarray(0, length))
      for (const [at, value] of changes) if (at < length) bytes[at] = value
      try {
        decodeNpy(bytes, 'a.npy')
      } catch (error) {
        assert.instance(error, SwaError, String(error))
      }
    }),
    { seed: 7, numRuns: 300 },
  )
})

test.run()
