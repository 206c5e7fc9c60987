/**
 * Mixed precision as a pass over a training program (Micikevicius et al. 2018): matrix products, convolutions and what lies
 * between them compute in float16, everything else in float32. State, inputs, outputs and metrics stay float32.
 *
 * Types are decided node by node in the order of the graph, as autocast decides them at run time: a value is of half
 * precision if the node that gives it is, and is cast once, where a node of the other kind reads it. Constants are stored
 * in both types instead; so no Cast follows another.
 */

import { operatorKey } from '../autodiff/index.ts'
import { Builder } from '../ir/builder.ts'
import type { Graph } from '../ir/graph.ts'
import { ONNX_DOMAIN, type Node } from '../ir/node.ts'
import { readsOf } from '../ir/topology.ts'
import type { Value } from '../ir/value.ts'
import { namesOf, redirectReads } from '../passes/index.ts'
import { sizeOf } from '../tensor/shape.ts'
import { Tensor } from '../tensor/tensor.ts'
import { HALF_ROWS, type HalfRow } from './precision-lists.ts'

/** The largest finite float16, and the smallest that has all its digits. */
const LARGEST = 65504
const SMALLEST = 2 ** -14

/** Rewrites a program's graph in place; values that become of half precision change their type. */
export function toMixedPrecision(graph: Graph): void {
  new MixedPrecision(graph).run()
}

class MixedPrecision {
  readonly #graph: Graph
  readonly #op: Builder
  /** What the graph is given: parameters, above all. */
  readonly #given: ReadonlySet<Value>
  /** Values that were float32 and are of half precision now. */
  readonly #halved = new Set<Value>()
  /** A value -> the same in the other type. */
  readonly #other = new Map<Value, Value>()

  constructor(graph: Graph) {
    this.#graph = graph
    this.#op = new Builder(namesOf(graph))
    this.#given = new Set(graph.inputs)
  }

  run(): void {
    const graph = this.#graph
    const op = this.#op
    for (const node of graph.nodes.splice(0)) {
      this.#place(node)
      graph.nodes.push(...op.nodes.splice(0), node)
    }
    graph.outputs.forEach((output, i) => {
      if (!this.#halved.has(output)) return
      const name = output.name
      output.name = op.uniqueName(`${name}/half`)
      const whole = this.#inFloat(output)
      whole.name = name
      graph.outputs[i] = whole
    })
    graph.nodes.push(...op.nodes.splice(0))
    const read = new Set(graph.nodes.flatMap(node => [...readsOf(node)]))
    graph.initializers = [...graph.initializers, ...op.initializers].filter(value => read.has(value))
  }

  /** Gives a node its types; what converts its inputs is on the tape. */
  #place(node: Node): void {
    const row = HALF_ROWS[operatorKey(node)]
    const takes = (i: number) => row?.inputs?.includes(i) ?? true
    const half = row !== undefined && this.#isHalf(node, row, takes)
    if (node.opType === 'Cast' && node.domain === ONNX_DOMAIN) this.#remember(node)
    node.inputs = node.inputs.map((value, i) => {
      if (!value) return null
      return half && takes(i) ? this.#inHalf(value) : this.#inFloat(value)
    })
    for (const inner of node.subgraphs()) {
      const captured = [...readsOf(node)].filter(value => this.#halved.has(value))
      redirectReads(inner, new Map(captured.map(value => [value, this.#inFloat(value)])))
    }
    if (!half) return
    node.outputs.forEach((output, i) => {
      if (!output || !isFloat(output) || !(row.outputs?.includes(i) ?? true)) return
      output.type = { kind: 'tensor', dtype: 'float16', shape: output.shape }
      this.#halved.add(output)
    })
  }

  #isHalf(node: Node, { kind }: HalfRow, takes: (index: number) => boolean): boolean {
    const values = node.inputs.filter(
      (value, i): value is Value => value !== null && takes(i) && isReal(value),
    )
    // What the model itself has in another type stays as it is.
    if (values.some(value => !isFloat(value) && !this.#halved.has(value))) return false
    if (kind === 'half') return values.length > 0
    const halved = values.filter(value => this.#halved.has(value))
    if (halved.length === 0) return false
    const largest = Math.max(...halved.map(value => sizeOf(value.shape)))
    return values.every(
      value =>
        this.#halved.has(value) || fitsHalf(value) || (node.opType === 'Add' && this.#isBias(value, largest)),
    )
  }

  /** A vector of parameters that is added to a product belongs to the product. */
  #isBias(value: Value, largest: number): boolean {
    return this.#given.has(value) && value.rank === 1 && sizeOf(value.shape) < largest
  }

  /** The model's own Cast from float16: whoever wants that type of its output has it already. */
  #remember(node: Node): void {
    const [x, y] = [node.input(0), node.output(0)]
    if (x.dtype === 'float16' && !this.#halved.has(x) && isFloat(y)) this.#other.set(y, x)
  }

  #inHalf(value: Value): Value {
    if (!isFloat(value)) return value
    return this.#converted(value, () =>
      value.tensor?.resident
        ? this.#op.constant(Tensor.of('float16', value.tensor.dims, value.tensor.toNumbers()))
        : this.#cast(value, 'float16'),
    )
  }

  #inFloat(value: Value): Value {
    return this.#halved.has(value) ? this.#converted(value, () => this.#cast(value, 'float32')) : value
  }

  #converted(value: Value, convert: () => Value): Value {
    const known = this.#other.get(value)
    if (known) return known
    const converted = convert()
    this.#other.set(value, converted)
    return converted
  }

  #cast(value: Value, dtype: 'float16' | 'float32'): Value {
    return this.#op.within(value.name, () => this.#op.Cast(value, dtype))
  }
}

function isFloat(value: Value): boolean {
  return value.type?.kind === 'tensor' && value.type.dtype === 'float32'
}

function isReal(value: Value): boolean {
  return value.type?.kind === 'tensor' && /^b?float/.test(value.type.dtype)
}

/** A constant that float16 holds, apart from a rounding. */
function fitsHalf({ tensor }: Value): boolean {
  if (!tensor?.resident) return false
  return tensor.toNumbers().every(number => {
    const size = Math.abs(number)
    return size === 0 || size === Infinity || (size >= SMALLEST && size <= LARGEST)
  })
}
