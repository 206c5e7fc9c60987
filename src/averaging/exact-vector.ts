/** The exact sums of a whole tensor in memory: 8 bytes an element, 16 where sums need pairs. */

import { checkRange, type ByteSource } from '../tensor/source.ts'
import { Tensor } from '../tensor/tensor.ts'
import { readBytes } from './tensor-bytes.ts'
import type { Elements } from './elements.ts'
import { BLOCK, SumBlock, UnsummableValue, type Tail } from './sum-block.ts'
import type { AveragedDType } from './rounding.ts'

const PAIR_BYTES = 16

export class ExactVector {
  readonly length: number
  readonly #blocks: SumBlock[]

  constructor(length: number) {
    this.length = length
    this.#blocks = Array.from(
      { length: Math.ceil(length / BLOCK) },
      (_, b) => new SumBlock(Math.min(BLOCK, length - b * BLOCK)),
    )
  }

  /** Adds weight · x. After an UnsummableValue (whose index is that in x) the sums are of no use. */
  add(dtype: AveragedDType, x: Elements, weight: number): void {
    this.#blocks.forEach((block, b) => {
      const start = b * BLOCK
      try {
        block.add(dtype, x.subarray(start, start + block.size), weight)
      } catch (error) {
        if (error instanceof UnsummableValue) throw new UnsummableValue(start + error.index, error.value)
        throw error
      }
    })
  }

  /** Adds sums of other members: pairs, and the tail that belongs to them. */
  async addSums(pairs: Tensor, tail: Tail): Promise<void> {
    for (const [b, block] of this.#blocks.entries()) {
      const bytes = await readBytes(pairs, b * BLOCK * PAIR_BYTES, block.size * PAIR_BYTES)
      const view = new Tensor('float64', [block.size, 2], bytes).view()
      block.addPairs(view as Float64Array)
    }
    tail.indices.forEach((index, k) =>
      this.#blocks[Math.floor(index / BLOCK)]!.addAt(index % BLOCK, tail.values[k]!),
    )
  }

  /** Writes the means, correctly rounded. */
  mean(dtype: AveragedDType, total: number, out: Elements): void {
    this.#blocks.forEach((block, b) =>
      block.mean(dtype, total, out.subarray(b * BLOCK, b * BLOCK + block.size)),
    )
  }

  /** What canonical pairs cannot hold. */
  tail(): Tail {
    const tails = this.#blocks.map(block => block.tail())
    return {
      indices: tails.flatMap((tail, b) => tail.indices.map(index => b * BLOCK + index)),
      values: tails.flatMap(tail => tail.values),
    }
  }

  /** The canonical pairs as bytes, made when they are asked for. */
  source(name: string): ByteSource {
    const source: ByteSource = {
      name,
      byteLength: this.length * PAIR_BYTES,
      read: (offset, length) => {
        checkRange(source, offset, length)
        return Promise.resolve(this.#pairBytes(offset, length))
      },
      close: () => Promise.resolve(),
    }
    return source
  }

  #pairBytes(offset: number, length: number): Uint8Array {
    const first = Math.floor(offset / PAIR_BYTES / BLOCK)
    const end = Math.ceil((offset + length) / PAIR_BYTES / BLOCK)
    const blocks = this.#blocks.slice(first, end)
    const pairs = new Float64Array(blocks.reduce((sum, block) => sum + 2 * block.size, 0))
    blocks.forEach((block, b) => block.pairs(pairs.subarray(b * 2 * BLOCK, b * 2 * BLOCK + 2 * block.size)))
    return new Uint8Array(pairs.buffer, offset - first * BLOCK * PAIR_BYTES, length)
  }
}
