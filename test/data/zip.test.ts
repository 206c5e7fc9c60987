/** The zip reader under npz: NumPy's files, zip64 typed by hand, and damaged or hostile archives. */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { crc32, deflateRawSync } from 'node:zlib'
import fc from 'fast-check'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { openNpz } from '../../src/data/npz.ts'
import { readZipDirectory, readZipEntry } from '../../src/serde/zip.ts'
import { MemorySource } from '../../src/tensor/source.ts'
import { SwaError } from '../../src/util/errors.ts'
import { assertFails, FIXTURES, writeTree } from './files.ts'

const folder = join(FIXTURES, 'npz')
const expected = JSON.parse(readFileSync(join(folder, 'expected.json'), 'utf8')) as {
  x: number[]
  y: number[]
}

for (const name of ['stored', 'compressed', 'zip64'])
  test(`reads ${name}.npz as NumPy wrote it`, async () => {
    const store = await openNpz(join(folder, `${name}.npz`))
    for (const key of ['x', 'y'] as const)
      assert.equal([...((await store.read(key)).data as Iterable<number>)], expected[key])
  })

interface Member {
  name: string
  data: Uint8Array
  method?: number
  flags?: number
  crc?: number
  size?: number
}

/** A zip archive typed by hand. */
function zip(members: readonly Member[], options: { wide?: boolean; comment?: string } = {}): Buffer {
  const { wide = false, comment = '' } = options
  const locals: Buffer[] = []
  const centrals: Buffer[] = []
  let offset = 0
  for (const { name, data, method = 8, flags = 0, crc = crc32(data), size = data.length } of members) {
    const packed = method === 8 ? deflateRawSync(data) : Buffer.from(data)
    const local = Buffer.alloc(30)
    local.writeUInt32LE(0x04034b50, 0)
    local.writeUInt16LE(name.length, 26)
    const central = Buffer.alloc(46)
    central.writeUInt32LE(0x02014b50, 0)
    central.writeUInt16LE(flags, 8)
    central.writeUInt16LE(method, 10)
    central.writeUInt32LE(crc, 16)
    central.writeUInt32LE(wide ? 0xffffffff : packed.length, 20)
    central.writeUInt32LE(wide ? 0xffffffff : size, 24)
    central.writeUInt16LE(name.length, 28)
    central.writeUInt32LE(wide ? 0xffffffff : offset, 42)
    const extra = Buffer.alloc(wide ? 34 : 0)
    if (wide) {
      extra.writeUInt16LE(0xcafe, 0) // an extra field of another kind comes first
      extra.writeUInt16LE(2, 2)
      extra.writeUInt16LE(1, 6)
      extra.writeUInt16LE(24, 8)
      for (const [i, value] of [size, packed.length, offset].entries())
        extra.writeBigUInt64LE(BigInt(value), 10 + 8 * i)
    }
    central.writeUInt16LE(extra.length, 30)
    locals.push(local, Buffer.from(name), packed)
    centrals.push(central, Buffer.from(name), extra)
    offset += 30 + name.length + packed.length
  }
  const directory = Buffer.concat(centrals)
  const end = Buffer.alloc(22)
  end.writeUInt32LE(0x06054b50, 0)
  end.writeUInt16LE(wide ? 0xffff : members.length, 10)
  end.writeUInt32LE(wide ? 0xffffffff : directory.length, 12)
  end.writeUInt32LE(wide ? 0xffffffff : offset, 16)
  end.writeUInt16LE(comment.length, 20)
  const end64 = Buffer.alloc(wide ? 76 : 0)
  if (wide) {
    end64.writeUInt32LE(0x06064b50, 0)
    end64.writeBigUInt64LE(BigInt(members.length), 32)
    end64.writeBigUInt64LE(BigInt(directory.length), 40)
    end64.writeBigUInt64LE(BigInt(offset), 48)
    end64.writeUInt32LE(0x07064b50, 56)
    end64.writeBigUInt64LE(BigInt(offset + directory.length), 64)
  }
  return Buffer.concat([...locals, directory, end64, end, Buffer.from(comment)])
}

const hello: Member = { name: 'hello', data: Buffer.from('hello hello hello') }

async function unzip(bytes: Uint8Array): Promise<Record<string, string>> {
  const source = new MemorySource(bytes, 'a.zip')
  const result: Record<string, string> = {}
  for (const entry of await readZipDirectory(source))
    result[entry.name] = Buffer.from(await readZipEntry(source, entry)).toString()
  return result
}

test('reads stored and deflated members, with a comment behind them', async () => {
  const bytes = zip([hello, { name: 'b', data: Buffer.from('stored'), method: 0 }], {
    comment: 'PK\x05\x06 not',
  })
  assert.equal(await unzip(bytes), { hello: 'hello hello hello', b: 'stored' })
})

test('reads zip64 sizes and end record', async () => {
  assert.equal(await unzip(zip([hello, { ...hello, name: 'again' }], { wide: true })), {
    hello: 'hello hello hello',
    again: 'hello hello hello',
  })
})

test('an archive without members is empty', async () => {
  assert.equal(await unzip(zip([])), {})
})

/** Where the directory of zip([hello]) starts: 30 bytes of header, 5 of name, 10 of packed text. */
const CENTRAL = 45

const patched = (bytes: Buffer, at: number, value: number) => {
  bytes[at < 0 ? bytes.length + at : at] = value
  return bytes
}

const hostile: [string, () => Uint8Array, string | RegExp][] = [
  ['an empty file', () => Buffer.alloc(0), 'a.zip: expected a zip archive, found no end record'],
  ['a cut archive', () => zip([hello]).subarray(0, -1), 'a.zip: expected a zip archive, found no end record'],
  ['an encrypted member', () => zip([{ ...hello, flags: 1 }]), 'a.zip[hello]: encrypted zip member'],
  ['a name twice', () => zip([hello, hello]), 'a.zip[hello]: the zip archive holds this name twice'],
  [
    'another method',
    () => zip([{ ...hello, method: 12 }]),
    'a.zip[hello]: zip method 12, expected 0 (stored) or 8 (deflate)',
  ],
  [
    'a wrong checksum',
    () => zip([{ ...hello, crc: 7 }]),
    'a.zip[hello]: checksum is 0xe5f98880, expected 0x00000007',
  ],
  ['a size too large', () => zip([{ ...hello, size: 18 }]), 'a.zip[hello]: expected 18 bytes, unpacked 17'],
  ['a size too small', () => zip([{ ...hello, size: 16 }]), /^a\.zip\[hello\]: deflate: /],
  ['a bomb', () => zip([{ ...hello, size: 4e9 }]), 'a.zip[hello]: 10 packed bytes cannot hold 4000000000'],
  ['a damaged stream', () => patched(zip([hello]), 36, 0xff), /^a\.zip\[hello\]: deflate: /],
  ['a member elsewhere', () => patched(zip([hello]), 0, 0), 'a.zip[hello]: no zip member at byte 0'],
  [
    'a damaged directory',
    () => patched(zip([hello]), CENTRAL, 0),
    'a.zip: zip directory entry 0 of 1 is damaged',
  ],
  ['entries missing', () => patched(zip([hello]), -12, 2), 'a.zip: zip directory entry 1 of 2 is damaged'],
  [
    'a name beyond the directory',
    () => patched(zip([hello]), CENTRAL + 28, 99),
    'a.zip: zip directory entry 0 of 1 is damaged',
  ],
  [
    'a directory beyond the file',
    () => patched(zip([hello]), -4, 200),
    /^a\.zip: bytes \d+ to \d+ are wanted, but the file has 118$/,
  ],
  [
    'no zip64 locator',
    () => patched(zip([hello], { wide: true }), -42, 0),
    'a.zip: the zip64 locator is missing',
  ],
  [
    'no zip64 end',
    () => patched(zip([hello], { wide: true }), -98, 0),
    'a.zip: the zip64 end record is missing',
  ],
  [
    'no zip64 sizes',
    () => patched(zip([hello], { wide: true }), CENTRAL + 46 + 5 + 6, 9),
    'a.zip[hello]: the zip64 sizes are missing',
  ],
]

for (const [what, make, message] of hostile)
  test(`refuses ${what}`, () => assertFails(() => unzip(make()), message))

test('damaged archives give an error of ours, or content with a true checksum', async () => {
  const original = zip([hello, { name: 'b', data: Buffer.from('stored'), method: 0 }])
  const damage = fc.array(fc.tuple(fc.nat(original.length - 1), fc.nat(255)), { minLength: 1, maxLength: 3 })
  await fc.assert(
    fc.asyncProperty(damage, async changes => {
      const bytes = Buffer.from(original)
      for (const [at, value] of changes) bytes[at] = value
      try {
        await unzip(bytes)
      } catch (error) {
        assert.instance(error, SwaError, String(error))
      }
    }),
    { seed: 7, numRuns: 300 },
  )
})

test('an npz holds npy members only', async () => {
  const root = writeTree({
    'a.npz': zip([{ name: 'x.npy', data: Buffer.from('no npy') }]),
    'b.npz': zip([hello]),
  })
  const store = await openNpz(join(root, 'a.npz'))
  await assertFails(
    () => store.read('x'),
    '/a.npz[x]: expected the npy magic 934e554d5059, found 6e6f206e7079',
    { root },
  )
  await assertFails(() => store.read('y'), "/a.npz: there is no array 'y'", { root })
  await assertFails(() => openNpz(join(root, 'b.npz')), "/b.npz: expected only .npy members, found 'hello'", {
    root,
  })
})

test.run()
