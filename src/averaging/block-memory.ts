/**
 * The memory of the WebAssembly kernels: the sums of a block, the elements of a group of members, and means. What a kernel
 * cannot do exactly comes back as a list of indices, so that sums and means are those of the plain kernels.
 */

import { KERNELS } from './generated/kernels.js'
import { FORMATS } from './rounding.ts'

/** Elements that are added up in groups of members. */
export type GroupDType = 'float32' | 'float16' | 'bfloat16'

export function isGroupDType(dtype: string): dtype is GroupDType {
  return dtype in SUMS
}

/** Bytes of a member's elements in a block: with the sums they stay in a core's second-level cache. */
export const BLOCK_BYTES = 1 << 17
/** Members that are added up at a time. */
export const GROUP = 16
/** Bytes of all members' elements, where all of them must be there at once, unless they are very many. */
const ALL_BYTES = 1 << 21
const LEAST_BYTES = 1 << 10

/** Vectors are read and written up to so far behind the last element. */
const MARGIN = 16
const PAGE = 65536
/** A sum of one element is exact. */
const NO_LIMIT = 255

type Kernel = (...pointersAndNumbers: number[]) => number

interface Exports {
  readonly sumFloat32: Kernel
  readonly sumFloat16: Kernel
  readonly sumBfloat16: Kernel
  readonly addFloat32: Kernel
  readonly addFloat64: Kernel
  readonly sortFloat32: Kernel
  readonly sortFloat64: Kernel
  readonly meanFloat32: Kernel
  readonly meanFloat16: Kernel
  readonly meanBfloat16: Kernel
  readonly xxh64: (x: number, length: number) => bigint
}

const SUMS = { float32: 'sumFloat32', float16: 'sumFloat16', bfloat16: 'sumBfloat16' } as const
const MEANS = { float32: 'meanFloat32', float16: 'meanFloat16', bfloat16: 'meanBfloat16' } as const

/** What is used of WebAssembly, which the language's own library does not declare. */
interface Engine {
  readonly Module: new (bytes: Uint8Array) => object
  readonly Memory: new (size: { initial: number }) => { readonly buffer: ArrayBuffer }
  readonly Instance: new (module: object, imports: { readonly env: object }) => { readonly exports: Exports }
}

interface Compiled {
  readonly engine: Engine
  readonly module: object
}

let compiled: Compiled | null | undefined

function compile(): Compiled | null {
  const engine = (globalThis as unknown as { WebAssembly?: Engine }).WebAssembly
  if (!engine) return null
  try {
    const bytes = Uint8Array.from(atob(KERNELS), letter => letter.charCodeAt(0))
    return { engine, module: new engine.Module(bytes) }
  } catch {
    // An engine without vector instructions.
    return null
  }
}

/** How far apart the exponents of a group's elements may be so that their weighted sum is one float64. */
export function limitOf(dtype: GroupDType, weights: readonly number[]): number {
  const total = weights.reduce((sum, weight) => sum + Math.abs(weight), 0)
  return 53 - FORMATS[dtype].precision - Math.ceil(Math.log2(total))
}

export class BlockMemory {
  /** Sums: one float64, or the two of a pair, for each element. */
  readonly high: Float64Array
  readonly low: Float64Array
  /** For each member of a group its elements, to be filled by the caller. */
  readonly members: readonly Uint8Array[]
  readonly #out: Uint8Array
  readonly #weights: Float64Array
  readonly #spills: Int32Array
  readonly #stride: number
  readonly #exports: Exports

  /** For so many members, with so many bytes each. */
  private constructor({ engine, module }: Compiled, members: number, stride: number) {
    const size = stride / 2
    let end = 0
    const place = (bytes: number) => {
      const start = end
      end += Math.ceil((bytes + MARGIN) / 16) * 16
      return start
    }
    const [high, low, out, spills] = [place(8 * size), place(8 * size), place(8 * size), place(4 * size)]
    const [elements, weights] = [place(members * stride), place(8 * members)]
    const memory = new engine.Memory({ initial: Math.ceil(end / PAGE) })
    const { buffer } = memory
    this.high = new Float64Array(buffer, high, size)
    this.low = new Float64Array(buffer, low, size)
    this.#out = new Uint8Array(buffer, out, 8 * size)
    this.#spills = new Int32Array(buffer, spills, size)
    this.#weights = new Float64Array(buffer, weights, members)
    this.#stride = stride
    this.members = Array.from(
      { length: members },
      (_, k) => new Uint8Array(buffer, elements + k * stride, stride),
    )
    this.#exports = new engine.Instance(module, { env: { memory } }).exports
  }

  /** For groups of members; null where only the plain kernels run. */
  static create(): BlockMemory | null {
    return BlockMemory.#create(GROUP, BLOCK_BYTES)
  }

  /** For all of so many members at once. */
  static forAll(members: number): BlockMemory | null {
    const stride = Math.min(BLOCK_BYTES, Math.max(LEAST_BYTES, Math.floor(ALL_BYTES / members / 16) * 16))
    return BlockMemory.#create(members, stride)
  }

  static #create(members: number, stride: number): BlockMemory | null {
    if (compiled === undefined) compiled = compile()
    return compiled && new BlockMemory(compiled, members, stride)
  }

  /**
   * high[i] += weights[0] · members[first][i] + weights[1] · members[first + 1][i] + ... for i below `count`. Gives the
   * indices of those elements that were not added because the sum may not be one float64; valid until the next call.
   */
  addGroup(dtype: GroupDType, count: number, weights: readonly number[], first = 0): Int32Array {
    const limit = limitOf(dtype, weights)
    const equal = weights.every(weight => weight === 1)
    this.#weights.set(weights)
    const spilled = this.#exports[SUMS[dtype]](
      this.high.byteOffset,
      this.members[first]!.byteOffset,
      this.#stride,
      weights.length,
      count,
      equal ? 0 : this.#weights.byteOffset,
      weights.length === 1 ? NO_LIMIT : limit,
      this.#spills.byteOffset,
    )
    return this.#spills.subarray(0, spilled)
  }

  /** high[i] + low[i] += weight · members[k][i], float32 elements; gives what `addGroup` does. */
  addFloat32(count: number, weight: number, member: number): Int32Array {
    const spilled = this.#exports.addFloat32(
      this.high.byteOffset,
      this.low.byteOffset,
      this.members[member]!.byteOffset,
      count,
      weight,
      this.#spills.byteOffset,
    )
    return this.#spills.subarray(0, spilled)
  }

  /** Sorts what the members have in each place: the smallest goes to the first one. */
  sort(dtype: 'float32' | 'float64', count: number): void {
    const kernel = dtype === 'float32' ? this.#exports.sortFloat32 : this.#exports.sortFloat64
    kernel(this.members[0]!.byteOffset, this.#stride, this.members.length, count)
  }

  /** high[i] + low[i] += members[0][i], float64 elements; gives what `addGroup` does. */
  addFloat64(count: number, member = 0): Int32Array {
    const spilled = this.#exports.addFloat64(
      this.high.byteOffset,
      this.low.byteOffset,
      this.members[member]!.byteOffset,
      count,
      this.#spills.byteOffset,
    )
    return this.#spills.subarray(0, spilled)
  }

  /** Means of sums that are one float64 each, in packed form; valid until the next call. */
  mean(dtype: GroupDType, count: number, total: number): Uint8Array {
    this.#exports[MEANS[dtype]](this.high.byteOffset, total, this.#out.byteOffset, count)
    return this.#out.subarray(0, (count * (dtype === 'float32' ? 32 : 16)) / 8)
  }

  /** XXH64 of `length` bytes of a member. */
  hash(member: number, start: number, length: number): bigint {
    return this.#exports.xxh64(this.members[member]!.byteOffset + start, length)
  }
}
