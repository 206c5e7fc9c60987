/**
 * Joins the parts of each state vector into one tensor, and the updates of the parts into one chain of element-wise nodes
 * over it: on a GPU a node costs its launch, and an optimizer of five nodes for each of 161 tensors costs more than the
 * arithmetic of the whole vector. Numbers do not change: what is element-wise on each part is so on all of them at once.
 *
 * The updates of the parts are walked side by side, from the next states back. Where all parts agree on an operator, it is
 * written once; where they do not, or the operator is not element-wise, their values are joined: these are the gradients.
 */

import { Builder } from '../ir/builder.ts'
import type { Graph } from '../ir/graph.ts'
import { ONNX_DOMAIN, type Node } from '../ir/node.ts'
import { Value } from '../ir/value.ts'
import { namesOf, redirectReads, removeDeadNodesOf, tensorOf } from '../passes/index.ts'
import { sameShape, sizeOf } from '../tensor/shape.ts'
import { Tensor } from '../tensor/tensor.ts'
import { invariant } from '../util/errors.ts'
import type { Lowered, Program, StateVector } from './program.ts'

const ELEMENTWISE: ReadonlySet<string> = new Set([
  ...['Add', 'Sub', 'Mul', 'Div', 'Max', 'Min', 'Pow'],
  ...['Sqrt', 'Reciprocal', 'Neg', 'Abs', 'Identity'],
])

export interface JoinedState {
  /** The program as it is then: each state vector has one part. Its graph is that of the unlowered program. */
  readonly program: Program
  readonly lowered: Lowered
}

/** Joins all vectors; the lowered graph is changed in place. */
export function joinState(program: Program, lowered: Lowered): JoinedState {
  const { graph } = lowered
  const joiner = new Joiner(graph)
  const state: StateVector[] = []
  for (const vectors of byLayout(program.state)) state.push(...joiner.join(vectors))
  joiner.finish()
  const order = program.state.map(({ name }) => state.find(vector => vector.name === name)!)
  return { program: { ...program, state: order }, lowered }
}

/** Vectors whose parts lie alike (parameters and what the optimizer keeps of them) are updated together. */
function byLayout(state: readonly StateVector[]): StateVector[][] {
  const groups = new Map<string, StateVector[]>()
  for (const vector of state) {
    const key = vector.parts.map(({ offset, shape }) => `${offset}:${shape.join('x')}`).join()
    groups.set(key, [...(groups.get(key) ?? []), vector])
  }
  return [...groups.values()]
}

/** The values of one role, a value for each part. */
type Row = readonly Value[]

class Joiner {
  readonly #graph: Graph
  readonly #op: Builder
  readonly #inputs: Map<string, Value>
  readonly #outputs: Map<string, Value>
  /** What takes the vectors apart: before everything else. */
  readonly #first: Node[] = []

  constructor(graph: Graph) {
    this.#graph = graph
    this.#op = new Builder(namesOf(graph))
    this.#inputs = new Map(graph.inputs.map(value => [value.name, value]))
    this.#outputs = new Map(graph.outputs.map(value => [value.name, value]))
  }

  /** Joins vectors of one layout; gives them with one part each. */
  join(vectors: readonly StateVector[]): StateVector[] {
    const op = this.#op
    const shapes = vectors[0]!.parts.map(({ shape }) => shape)
    const length = vectors[0]!.length
    const before = vectors.map(({ parts }) => parts.map(part => this.#named(this.#inputs, part.input)))
    const after = vectors.map(({ parts }) => parts.map(part => this.#named(this.#outputs, part.output)))
    const flat = vectors.map(({ name }) => Value.typed(op.uniqueName(`${name}/joined`), 'float32', [length]))
    const known = new Map<Value, Value>(before.map((row, i) => [row[0]!, flat[i]!]))

    // 1. The updates, over whole vectors.
    const unified = new Map<string, Value | null>()
    /** The joined form of a row; null where its values cannot be joined. */
    const unify = (row: Row): Value | null => {
      const first = row[0]!
      const state = known.get(first)
      if (state && before[flat.indexOf(state)]!.every((value, i) => value === row[i])) return state
      const key = row.map(value => value.name).join('\n')
      const found = unified.get(key)
      if (found !== undefined) return found
      const joined =
        sharedScalar(row) ?? this.#constants(row, shapes) ?? applied(row) ?? this.#leaf(row, shapes)
      unified.set(key, joined)
      return joined
    }
    const applied = (row: Row): Value | null => {
      const node = row[0]!.producer
      if (node?.domain !== ONNX_DOMAIN || !ELEMENTWISE.has(node.opType)) return null
      const nodes = row.map(value => value.producer)
      const alike = nodes.every((other, i) => {
        const same = other?.domain === ONNX_DOMAIN && other.opType === node.opType
        return same && other.inputs.length === node.inputs.length && sameShape(row[i]!.shape, shapes[i]!)
      })
      if (!alike) return null
      const operands = node.inputs.map((_, k) => unify(nodes.map(other => other!.input(k))))
      if (operands.includes(null)) return null
      return op.one(node.opType, operands, { shape: [length] }, Object.fromEntries(node.attributes))
    }
    const next = after.map((row, i) => {
      const value = unify(row)
      invariant(value, `state ${vectors[i]!.name} cannot be joined`)
      // A graph may not give out what it was given, nor one value twice.
      return op.Identity(value)
    })

    this.#graph.nodes.push(...op.nodes.splice(0))

    // 2. The parts of the vectors, for those who read them.
    before.forEach((row, i) => this.#split(row, flat[i]!))

    // 3. One input and one output in the place of many.
    const [gone, made] = [new Set(before.flat()), new Set(after.flat())]
    this.#graph.inputs = [...flat, ...this.#graph.inputs.filter(value => !gone.has(value))]
    this.#graph.outputs = [...next, ...this.#graph.outputs.filter(value => !made.has(value))]
    return vectors.map(({ name }, i) => ({
      name,
      length,
      parts: [{ input: flat[i]!.name, output: next[i]!.name, offset: 0, shape: [length] }],
    }))
  }

  /** Completes the graph, and drops the updates of the parts. */
  finish(): void {
    this.#graph.nodes = [...this.#first, ...this.#graph.nodes]
    this.#graph.initializers.push(...this.#op.initializers)
    removeDeadNodesOf(this.#graph)
  }

  #named(values: ReadonlyMap<string, Value>, name: string): Value {
    const value = values.get(name)
    invariant(value, `the lowered program has no ${name}`)
    return value
  }

  /** Scalar constants that differ from part to part, as a vector. */
  #constants(row: Row, shapes: readonly (readonly number[])[]): Value | null {
    const tensors = row.map(value => tensorOf(value))
    if (!tensors.every(tensor => tensor?.resident === true && tensor.size === 1)) return null
    const numbers = tensors.map(tensor => tensor!.toNumbers()[0]!)
    if (numbers.every(number => number === numbers[0])) return this.#op.scalar(numbers[0]!)
    const spread = numbers.flatMap((number, i) => new Array<number>(sizeOf(shapes[i]!)).fill(number))
    return this.#op.constant(Tensor.of('float32', [spread.length], spread))
  }

  /** Values of the parts' own shapes, one after the other. */
  #leaf(row: Row, shapes: readonly (readonly number[])[]): Value | null {
    const whole = row.every((value, i) => value.dtype === 'float32' && sameShape(value.shape, shapes[i]!))
    if (!whole) return null
    return this.#op.Concat(
      row.map(value => this.#op.Reshape(value, [sizeOf(value.shape)])),
      0,
    )
  }

  /** Redirects the readers of parts to pieces of the vector. */
  #split(row: Row, flat: Value): void {
    const op = this.#op
    const sizes = row.map(({ shape }) => sizeOf(shape))
    const parts = op.Split(flat, sizes, 0).map((piece, i) => op.Reshape(piece, row[i]!.shape))
    redirectReads(this.#graph, new Map(row.map((value, i) => [value, parts[i]!])))
    this.#first.push(...op.nodes.splice(0))
  }
}

/** A scalar that all parts share: a learning rate. */
function sharedScalar(row: Row): Value | null {
  const [first] = row
  return first && row.every(value => value === first) && sizeOf(first.shape) === 1 && first.rank === 0
    ? first
    : null
}
