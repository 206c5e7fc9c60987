/** Seeded random numbers: the same seed gives the same sequence on every machine and Node version. */

const GOLDEN = 0x9e3779b97f4a7c15n
const MASK = 0xffffffffffffffffn

/** SplitMix64 finaliser (Steele, Lea, Flood 2014): spreads a 64-bit key over all bits. */
function splitmix64(key: bigint): bigint {
  let z = (key + GOLDEN) & MASK
  z = ((z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n) & MASK
  z = ((z ^ (z >> 27n)) * 0x94d049bb133111ebn) & MASK
  return z ^ (z >> 31n)
}

/**
 * xoshiro128** (Blackman, Vigna 2018), a generator with 128 bits of state.
 * `Random.of(seed, ...stream)` derives independent generators from one seed, e.g. one for each epoch or sample,
 * so that a resumed run needs no generator state: position alone determines the numbers.
 */
export class Random {
  #a: number
  #b: number
  #c: number
  #d: number

  private constructor(a: number, b: number, c: number, d: number) {
    this.#a = a
    this.#b = b
    this.#c = c
    this.#d = d
  }

  static of(seed: number, ...stream: number[]): Random {
    let key = splitmix64(BigInt(Math.trunc(seed)) & MASK)
    for (const part of stream) key = splitmix64(key ^ (BigInt(Math.trunc(part)) & MASK))
    const next = splitmix64(key ^ GOLDEN)
    const word = (value: bigint, shift: bigint) => Number((value >> shift) & 0xffffffffn) | 0
    return new Random(word(key, 0n), word(key, 32n), word(next, 0n), word(next, 32n) | 1)
  }

  /** An integer in [0, 2^32). */
  uint32(): number {
    const product = Math.imul(this.#b, 5)
    const result = Math.imul((product << 7) | (product >>> 25), 9) >>> 0
    const t = this.#b << 9
    this.#c ^= this.#a
    this.#d ^= this.#b
    this.#b ^= this.#c
    this.#a ^= this.#d
    this.#c ^= t
    this.#d = (this.#d << 11) | (this.#d >>> 21)
    return result
  }

  /** A float64 in [0, 1) with 53 random bits. */
  float(): number {
    return ((this.uint32() >>> 5) * 67108864 + (this.uint32() >>> 6)) / 9007199254740992
  }

  /** An integer in [0, bound), without modulo bias (Lemire 2019: reject the short tail). */
  integer(bound: number): number {
    const limit = 4294967296 - (4294967296 % bound)
    for (;;) {
      const value = this.uint32()
      if (value < limit) return value % bound
    }
  }

  /** A standard normal number (Box-Muller; one of the pair is used, so that the state stays four words). */
  normal(): number {
    const radius = Math.sqrt(-2 * Math.log(1 - this.float()))
    return radius * Math.cos(2 * Math.PI * this.float())
  }

  /** A number from Gamma(shape, 1) (Marsaglia, Tsang 2000; shapes below 1 by its section 6). */
  gamma(shape: number): number {
    if (shape < 1) return this.gamma(shape + 1) * (1 - this.float()) ** (1 / shape)
    const d = shape - 1 / 3
    for (;;) {
      const x = this.normal()
      const v = (1 + x / Math.sqrt(9 * d)) ** 3
      if (v > 0 && Math.log(1 - this.float()) < (x * x) / 2 + d - d * v + d * Math.log(v)) return d * v
    }
  }

  /** A number from Beta(a, b). */
  beta(a: number, b: number): number {
    const x = this.gamma(a)
    return x / (x + this.gamma(b))
  }

  /** A uniformly random order of 0 .. length-1 (Fisher-Yates). */
  permutation(length: number): Uint32Array {
    const order = Uint32Array.from({ length }, (_, i) => i)
    for (let i = length - 1; i > 0; i--) {
      const j = this.integer(i + 1)
      const swapped = order[i]!
      order[i] = order[j]!
      order[j] = swapped
    }
    return order
  }
}
