/** Damage to files, by a seed: what disks, networks and attackers do. */

import { Random } from '../../../src/util/random.ts'

type Mutation = (bytes: Buffer, random: Random, other: Buffer) => Buffer

/** A place, more often near the beginning, where headers are. */
function place(bytes: Buffer, random: Random): number {
  const span = random.integer(3) === 0 ? bytes.length : Math.min(bytes.length, 600)
  const from = random.integer(4) === 0 ? bytes.length - Math.min(bytes.length, 600) : 0
  return Math.min(bytes.length - 1, from + random.integer(span))
}

const INTERESTING = [
  0n,
  1n,
  0x7fn,
  0x80n,
  0xffn,
  0xffffn,
  0x7fffffffn,
  0x80000000n,
  0xffffffffn,
  2n ** 53n,
  2n ** 63n - 1n,
  2n ** 63n,
  2n ** 64n - 1n,
]

const MUTATIONS: readonly Mutation[] = [
  // A bit.
  (bytes, random) => {
    const copy = Buffer.from(bytes)
    copy[place(copy, random)]! ^= 1 << random.integer(8)
    return copy
  },
  // Some bytes.
  (bytes, random) => {
    const copy = Buffer.from(bytes)
    for (let n = 1 + random.integer(8); n > 0; n--) copy[place(copy, random)] = random.integer(256)
    return copy
  },
  // A number that is a limit of something.
  (bytes, random) => {
    const copy = Buffer.concat([bytes, Buffer.alloc(8)])
    const value = INTERESTING[random.integer(INTERESTING.length)]!
    const at = place(bytes, random)
    if (random.integer(2) === 0) copy.writeBigUInt64LE(value, at)
    else copy.writeUInt32LE(Number(value & 0xffffffffn), at)
    return copy.subarray(0, bytes.length)
  },
  // A number in text, longer or negative.
  (bytes, random) => {
    const digits = [...bytes.subarray(0, 4000).entries()].filter(([, byte]) => byte >= 0x30 && byte <= 0x39)
    if (digits.length === 0) return bytes.subarray(1)
    const [at] = digits[random.integer(digits.length)]!
    const texts = [
      '-1',
      '0',
      '9',
      '1e9',
      '18446744073709551616',
      '4294967296',
      '1.5',
      'null',
      '[]',
      '""',
      '99999999999',
    ]
    const text = Buffer.from(texts[random.integer(texts.length)]!)
    return Buffer.concat([bytes.subarray(0, at), text, bytes.subarray(at + 1)])
  },
  // The end is missing.
  (bytes, random) => bytes.subarray(0, random.integer(bytes.length)),
  // A part is missing.
  (bytes, random) => {
    const at = place(bytes, random)
    return Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + 1 + random.integer(40))])
  },
  // A part is there twice.
  (bytes, random) => {
    const at = place(bytes, random)
    const end = Math.min(bytes.length, at + 1 + random.integer(200))
    return Buffer.concat([bytes.subarray(0, end), bytes.subarray(at)])
  },
  // Something is between.
  (bytes, random) => {
    const at = place(bytes, random)
    const more = Buffer.from(Array.from({ length: 1 + random.integer(30) }, () => random.integer(256)))
    return Buffer.concat([bytes.subarray(0, at), more, bytes.subarray(at)])
  },
  // Nothing but zeros from some place on, as after a power cut.
  (bytes, random) => {
    const copy = Buffer.from(bytes)
    copy.fill(0, place(copy, random))
    return copy
  },
  // The beginning of one file and the end of another.
  (bytes, random, other) => {
    const at = place(bytes, random)
    return Buffer.concat([bytes.subarray(0, at), other.subarray(Math.min(other.length, at))])
  },
]

/** One of the damages, or two of them; never the file as it was. */
export function mutate(bytes: Buffer, seed: number, other: Buffer): Buffer {
  const random = Random.of(seed)
  for (;;) {
    let mutated = bytes
    for (let n = random.integer(4) === 0 ? 2 : 1; n > 0 && mutated.length > 0; n--) {
      mutated = MUTATIONS[random.integer(MUTATIONS.length)]!(mutated, random, other)
    }
    if (!mutated.equals(bytes)) return mutated
  }
}
