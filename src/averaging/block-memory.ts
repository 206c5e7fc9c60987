/**
 * The sums of a block in the memory of a WebAssembly module, which adds elements to them four at a time. Only what it
 * cannot add exactly comes back (kernels.ts has the contract), so that sums and means are those of the plain kernels.
 */

import { widen16, type Spill } from './kernels.ts'
import { KERNELS } from './generated/kernels.js'

/** Elements whose additions are written in WebAssembly. */
export type VectorDType = 'float32' | 'float16' | 'bfloat16'

type Add = (high: number, x: number, count: number, weight: number, spills: number) => number

const ENTRIES: Readonly<Record<VectorDType, string>> = {
  float32: 'addFloat32',
  float16: 'addFloat16',
  bfloat16: 'addBfloat16',
}

/** Elements are read in groups of four: so far behind the last one. */
const MARGIN = 16
const PAGE = 65536

/** What is used of WebAssembly, which the language's own library does not declare. */
interface Engine {
  readonly Module: new (bytes: Uint8Array) => object
  readonly Memory: new (size: { initial: number }) => { readonly buffer: ArrayBuffer }
  readonly Instance: new (
    module: object,
    imports: { readonly env: object },
  ) => { readonly exports: Readonly<Record<string, Add>> }
}

interface Compiled {
  readonly engine: Engine
  readonly module: object
}

let compiled: Compiled | null | undefined

/** The module; null where WebAssembly or its vector instructions are missing. */
function kernels(): Compiled | null {
  if (compiled === undefined) compiled = compile()
  return compiled
}

function compile(): Compiled | null {
  const { WebAssembly: engine } = globalThis as { WebAssembly?: unknown } as { WebAssembly?: Engine }
  if (!engine) return null
  try {
    const bytes = Uint8Array.from(atob(KERNELS), letter => letter.charCodeAt(0))
    return { engine, module: new engine.Module(bytes) }
  } catch {
    return null
  }
}

export class BlockMemory {
  /** The sums, for `size` elements. */
  readonly high: Float64Array
  readonly #x: Uint8Array
  readonly #spills: Int32Array
  readonly #exports: Readonly<Record<string, Add>>

  private constructor({ engine, module }: Compiled, size: number) {
    const [highBytes, xBytes] = [8 * size + 2 * MARGIN, 4 * size + MARGIN]
    const bytes = highBytes + xBytes + 4 * size + MARGIN
    const memory = new engine.Memory({ initial: Math.ceil(bytes / PAGE) })
    const { exports } = new engine.Instance(module, { env: { memory } })
    this.high = new Float64Array(memory.buffer, 0, size)
    this.#x = new Uint8Array(memory.buffer, highBytes, xBytes)
    this.#spills = new Int32Array(memory.buffer, highBytes + xBytes, size)
    this.#exports = exports
  }

  /** Memory for a block; null where only the plain kernels run. */
  static create(size: number): BlockMemory | null {
    const found = kernels()
    return found && new BlockMemory(found, size)
  }

  /** high[i] += weight · x[i]; what is not exact goes to `spill`, as from the kernels of kernels.ts. */
  add(dtype: VectorDType, x: Float32Array | Uint16Array, weight: number, spill: Spill): void {
    this.#x.set(new Uint8Array(x.buffer, x.byteOffset, x.byteLength))
    const spilled = this.#exports[ENTRIES[dtype]]!(
      this.high.byteOffset,
      this.#x.byteOffset,
      x.length,
      weight,
      this.#spills.byteOffset,
    )
    const one = new Float32Array(1)
    for (let k = 0; k < spilled; k++) {
      const i = this.#spills[k]!
      if (x instanceof Float32Array) one[0] = x[i]!
      else widen16(dtype as 'float16' | 'bfloat16', x.subarray(i, i + 1), one)
      spill(i, one[0]! * weight)
    }
  }
}
