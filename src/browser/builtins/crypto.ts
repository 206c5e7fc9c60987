/** What stands for `node:crypto` in the browser's bundle: SHA-256 that answers at once, which the browser's own does not. */

import { toHex, utf8 } from '../../util/bytes.ts'
import { invariant } from '../../util/errors.ts'

/** The first 32 bits of the fractional parts of the cube roots of the first 64 primes (FIPS 180-4, 4.2.2). */
const ROUND = Int32Array.from(primes(64), prime => fraction(Math.cbrt(prime)))
/** Those of the square roots of the first eight (5.3.3). */
const START = Int32Array.from(primes(8), prime => fraction(Math.sqrt(prime)))

const BLOCK = 64

export interface Hash {
  update(data: string | ArrayBufferView): Hash
  digest(encoding: 'hex'): string
}

export function createHash(algorithm: string): Hash {
  invariant(algorithm === 'sha256', `no hash ${algorithm} in a browser`)
  return new Sha256()
}

class Sha256 implements Hash {
  readonly #state = START.slice()
  readonly #schedule = new Int32Array(64)
  /** What does not fill a block yet. */
  readonly #rest = new Uint8Array(BLOCK)
  #filled = 0
  #length = 0

  update(data: string | ArrayBufferView): this {
    const bytes =
      typeof data === 'string' ? utf8(data) : new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
    this.#length += bytes.byteLength
    let at = 0
    if (this.#filled > 0) {
      at = Math.min(BLOCK - this.#filled, bytes.byteLength)
      this.#rest.set(bytes.subarray(0, at), this.#filled)
      this.#filled += at
      if (this.#filled < BLOCK) return this
      this.#compress(this.#rest, 0)
    }
    for (; at + BLOCK <= bytes.byteLength; at += BLOCK) this.#compress(bytes, at)
    this.#rest.set(bytes.subarray(at))
    this.#filled = bytes.byteLength - at
    return this
  }

  digest(encoding: 'hex'): string {
    invariant((encoding as string) === 'hex', `no digest as ${encoding} in a browser`)
    // A single one bit, zeros, and the length in bits as a 64-bit number, up to the end of a block (5.1.1).
    const padding = new Uint8Array(9 + ((119 - (this.#length % BLOCK)) % BLOCK))
    padding[0] = 0x80
    const bits = new DataView(padding.buffer, padding.byteLength - 8)
    bits.setBigUint64(0, BigInt(this.#length) * 8n)
    this.update(padding)
    const result = new DataView(new ArrayBuffer(32))
    this.#state.forEach((word, i) => result.setUint32(4 * i, word))
    return toHex(new Uint8Array(result.buffer))
  }

  /** One block of 64 bytes (6.2.2). */
  #compress(bytes: Uint8Array, at: number): void {
    const w = this.#schedule
    for (let t = 0, i = at; t < 16; t++, i += 4)
      w[t] = (bytes[i]! << 24) | (bytes[i + 1]! << 16) | (bytes[i + 2]! << 8) | bytes[i + 3]!
    for (let t = 16; t < 64; t++) {
      const x = w[t - 15]!
      const y = w[t - 2]!
      const s0 = rotate(x, 7) ^ rotate(x, 18) ^ (x >>> 3)
      const s1 = rotate(y, 17) ^ rotate(y, 19) ^ (y >>> 10)
      w[t] = (w[t - 16]! + s0 + w[t - 7]! + s1) | 0
    }
    const state = this.#state
    let a = state[0]!
    let b = state[1]!
    let c = state[2]!
    let d = state[3]!
    let e = state[4]!
    let f = state[5]!
    let g = state[6]!
    let h = state[7]!
    for (let t = 0; t < 64; t++) {
      const sum1 = rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)
      const t1 = (h + sum1 + ((e & f) ^ (~e & g)) + ROUND[t]! + w[t]!) | 0
      const sum0 = rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)
      const t2 = (sum0 + ((a & b) ^ (a & c) ^ (b & c))) | 0
      h = g
      g = f
      f = e
      e = (d + t1) | 0
      d = c
      c = b
      b = a
      a = (t1 + t2) | 0
    }
    state[0] = state[0]! + a
    state[1] = state[1]! + b
    state[2] = state[2]! + c
    state[3] = state[3]! + d
    state[4] = state[4]! + e
    state[5] = state[5]! + f
    state[6] = state[6]! + g
    state[7] = state[7]! + h
  }
}

function rotate(word: number, by: number): number {
  return (word >>> by) | (word << (32 - by))
}

function fraction(value: number): number {
  return Math.floor((value % 1) * 2 ** 32) | 0
}

function primes(count: number): number[] {
  const found: number[] = []
  for (let n = 2; found.length < count; n++) if (found.every(prime => n % prime !== 0)) found.push(n)
  return found
}
