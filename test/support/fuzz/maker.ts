/** Writes random graphs: draws operators from a table, and their operands from the values that are there. */

import { COMPOSITE_LOWERINGS, lowerComposites } from '../../../src/autodiff/lowering/index.ts'
import { Builder } from '../../../src/ir/builder.ts'
import { Value } from '../../../src/ir/value.ts'
import { sizeOf, type Shape } from '../../../src/tensor/shape.ts'
import { Tensor } from '../../../src/tensor/tensor.ts'
import { Random } from '../../../src/util/random.ts'
import type { GradRow } from '../grad-row.ts'

/** What may be drawn: writes one operator on operands of its choice; null where none fits. */
export type Draw = (maker: Maker) => Value | readonly Value[] | null

/** An operator by what finite differences of it need. */
export interface FuzzOperator {
  readonly name: string
  readonly draw: Draw
  /** onnxruntime's CPU engine computes it in float32 only. */
  readonly float32?: boolean
  /** Not smooth: the small step of float64 seldom meets a kink, the large one of float32 does. */
  readonly kinks?: boolean
}

const MAX_ELEMENTS = 240
const MAX_RANK = 5

export class Maker {
  readonly op: Builder
  readonly random: Random
  readonly dtype: 'float32' | 'float64'
  /** Everything that an operator may read, oldest first. */
  readonly values: Value[] = []
  /** The weights made so far: inputs of the row. */
  readonly inputs: Value[] = []
  readonly #given: readonly (Value | null)[]

  /** `given`: the inputs to use, in the order in which they are asked for; where there are none, placeholders are made. */
  constructor(seed: number, dtype: 'float32' | 'float64', op: Builder, given: readonly (Value | null)[]) {
    this.random = Random.of(seed, 2)
    this.dtype = dtype
    this.op = op
    this.#given = given
  }

  /** A whole number in [low, high]. */
  int(low: number, high: number): number {
    return low + this.random.integer(high - low + 1)
  }

  chance(probability: number): boolean {
    return this.random.float() < probability
  }

  one<T>(list: readonly T[]): T {
    return list[this.random.integer(list.length)]!
  }

  shape(rank = this.one([0, 1, 2, 2, 3, 3, 4, 4])): number[] {
    return Array.from({ length: rank }, () => this.int(1, 4))
  }

  /** A new input of the row; it may be read again later (a shared weight). */
  weight(shape: Shape): Value {
    const index = this.inputs.length
    const value = this.#given[index] ?? Value.typed(`x${index}`, this.dtype, shape)
    this.inputs.push(value)
    this.values.push(value)
    return value
  }

  /** A value that passes the test: a new one as often as not, so that graphs grow deep. */
  any(test: (value: Value) => boolean = () => true): Value | null {
    const fitting = this.values.filter(test)
    if (fitting.length === 0) return null
    return this.chance(0.5) ? fitting.at(-1)! : this.one(fitting)
  }

  ofRank(low: number, high = MAX_RANK): Value | null {
    return this.any(({ rank }) => rank >= low && rank <= high)
  }

  /** A value of the shape, there already or a weight. */
  like(shape: Shape): Value {
    const same = this.values.filter(value => value.shape.join() === shape.join())
    return same.length > 0 && this.chance(0.6) ? this.one(same) : this.weight(shape)
  }

  axis(x: Value): number {
    return this.random.integer(x.rank)
  }

  /** Some of the axes, at least one. */
  axes(x: Value): number[] {
    const chosen = x.shape.map((_, i) => i).filter(() => this.chance(0.5))
    return chosen.length > 0 ? chosen : [this.axis(x)]
  }

  numbers(length: number, low: number, high: number): number[] {
    return Array.from({ length }, () => this.int(low, high))
  }

  indices(shape: Shape, size: number): Value {
    const values = this.numbers(sizeOf(shape), -size, size - 1)
    return this.op.constant(Tensor.of('int64', shape, values.map(BigInt)))
  }

  scale(x: Value, k: number): Value {
    return this.op.Mul(x, this.op.scalarLike(x, k))
  }

  /** x² + 1/2. */
  positive(x: Value): Value {
    return this.op.Add(this.op.Mul(x, x), this.op.scalarLike(x, 0.5))
  }

  /** Keeps growing values small. */
  tame(x: Value): Value {
    return this.chance(0.6) ? this.op.Tanh(x) : this.scale(x, 0.3)
  }

  /** The random graph: up to `count` operators; the outputs are the values that nothing reads. */
  write(operators: readonly FuzzOperator[], count: number): Value[] {
    for (let i = this.int(1, 3); i > 0; i--) this.weight(this.shape())
    for (let written = 0, tries = 0; written < count && tries < 20 * count; tries++) {
      const results = [this.one(operators).draw(this)].flat().filter(value => value !== null)
      if (results.some(({ shape }) => sizeOf(shape) > MAX_ELEMENTS || sizeOf(shape) === 0)) continue
      if (results.some(value => value.rank > MAX_RANK || value.dtype !== this.dtype)) continue
      if (results.length > 0) written++
      this.values.push(...results)
    }
    const read = new Set(this.op.nodes.flatMap(node => node.inputs))
    const made = new Set(this.op.nodes.flatMap(node => node.outputs))
    const ends = this.values.filter(value => made.has(value) && !read.has(value))
    return ends.length > 0 ? ends : [this.op.Identity(this.values.at(-1)!)]
  }
}

export interface GraphChoice {
  readonly dtype: 'float32' | 'float64'
  readonly operators: readonly FuzzOperator[]
  readonly nodes: number
}

/** A row for `checkGrads`, which asks for the graph again with its own inputs: the same draws give the same graph. */
export function graphRow(seed: number, { dtype, operators, nodes }: GraphChoice): GradRow {
  const planned = new Maker(seed, dtype, new Builder(), [])
  planned.write(operators, nodes)
  return {
    op: `random graph, seed ${seed}, ${nodes} operators`,
    inputs: planned.inputs.map(({ shape }) => ({ shape })),
    dtype,
    // The step of float32 is a compromise between its rounding and the third derivative of deep graphs.
    ...(dtype === 'float64' ? { tolerance: 2e-5 } : { tolerance: 2e-2, delta: 4e-3 }),
    domain: [-1.5, 1.5],
    seed,
    build: (op, inputs) => new Maker(seed, dtype, op, inputs).write(operators, nodes),
    lower: graph => lowerComposites(graph, COMPOSITE_LOWERINGS),
  }
}
