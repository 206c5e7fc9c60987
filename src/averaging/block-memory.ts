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
/** Elements of the largest block. */
const SIZE = BLOCK_BYTES / 2

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
  readonly addFloat64: Kernel
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

export class BlockMemory {
  /** Sums: one float64, or the two of a pair, for each element. */
  readonly high: Float64Array
  readonly low: Float64Array
  /** For each member of a group its elements, to be filled by the caller. */
  readonly members: readonly Uint8Array[]
  readonly #out: Uint8Array
  readonly #weights: Float64Array
  readonly #spills: Int32Array
  readonly #exports: Exports

  private constructor({ engine, module }: Compiled) {
    let end = 0
    const place = (bytes: number) => {
      const start = end
      end += Math.ceil((bytes + MARGIN) / 16) * 16
      return start
    }
    const [high, low, out, spills] = [place(8 * SIZE), place(8 * SIZE), place(8 * SIZE), place(4 * SIZE)]
    const [members, weights] = [place(GROUP * BLOCK_BYTES), place(8 * GROUP)]
    const memory = new engine.Memory({ initial: Math.ceil(end / PAGE) })
    const { buffer } = memory
    this.high = new Float64Array(buffer, high, SIZE)
    this.low = new Float64Array(buffer, low, SIZE)
    this.#out = new Uint8Array(buffer, out, 8 * SIZE)
    this.#spills = new Int32Array(buffer, spills, SIZE)
    this.#weights = new Float64Array(buffer, weights, GROUP)
    this.members = Array.from(
      { length: GROUP },
      (_, k) => new Uint8Array(buffer, members + k * BLOCK_BYTES, BLOCK_BYTES),
    )
    this.#exports = new engine.Instance(module, { env: { memory } }).exports
  }

  /** Null where only the plain kernels run. */
  static create(): BlockMemory | null {
    if (compiled === undefined) compiled = compile()
    return compiled && new BlockMemory(compiled)
  }

  /**
   * high[i] += weights[0] · members[0][i] + weights[1] · members[1][i] + ... for i below `count`. Gives the indices of
   * those elements that were not added because the sum may not be one float64; valid until the next call.
   */
  addGroup(dtype: GroupDType, count: number, weights: readonly number[]): Int32Array {
    const total = weights.reduce((sum, weight) => sum + weight, 0)
    const limit = 53 - FORMATS[dtype].precision - Math.ceil(Math.log2(total))
    const equal = weights.every(weight => weight === 1)
    this.#weights.set(weights)
    const spilled = this.#exports[SUMS[dtype]](
      this.high.byteOffset,
      this.members[0]!.byteOffset,
      BLOCK_BYTES,
      weights.length,
      count,
      equal ? 0 : this.#weights.byteOffset,
      weights.length === 1 ? NO_LIMIT : limit,
      this.#spills.byteOffset,
    )
    return this.#spills.subarray(0, spilled)
  }

  /** high[i] + low[i] += members[0][i], float64 elements; gives what `addGroup` does. */
  addFloat64(count: number): Int32Array {
    const spilled = this.#exports.addFloat64(
      this.high.byteOffset,
      this.low.byteOffset,
      this.members[0]!.byteOffset,
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
