/** Records a graph as kernel calls, node by node, while the calls run for the first time. */

import { Builder } from '../../ir/builder.ts'
import type { Graph } from '../../ir/graph.ts'
import { ONNX_DOMAIN, type Node } from '../../ir/node.ts'
import type { Value } from '../../ir/value.ts'
import type { Expansion } from '../../ops/expansion.ts'
import { EXPANSIONS } from '../../ops/expansions/index.ts'
import type { DType } from '../../tensor/dtype.ts'
import { invariant, UnsupportedError } from '../../util/errors.ts'
import { tfDTypeOf, toTfArray } from './elements.ts'
import { Held, Holders } from './held.ts'
import { Kernels } from './kernels.ts'
import { onnxLayout, type Layout } from './layout.ts'
import type { Plan } from './plan.ts'
import { Tape } from './tape.ts'
import type { Backend, TfModule, TfTensor } from './tf.ts'
import { WRITERS } from './writers/index.ts'
import { WriterContext } from './writer.ts'

/** A tensor that a run is given. */
export interface GivenTensor {
  readonly tensor: TfTensor
  readonly dtype: DType
  /** How it lies in memory; default: ONNX's order. */
  readonly layout?: Layout
}

export interface Compiled {
  readonly plan: Plan
  /** Types of the outputs. */
  readonly dtypes: ReadonlyMap<string, DType>
  /** The outputs of the recording run. */
  readonly results: Map<string, TfTensor>
}

/**
 * @param graph initializers are resident; nodes are in an order in which producers precede consumers
 * @param given one tensor for each graph input that is not an initializer; they stay the caller's
 * @param outputs names of graph outputs -> the layout in which they are wanted
 */
export async function compile(
  { tf, backend }: { tf: TfModule; backend: Backend },
  graph: Graph,
  given: ReadonlyMap<string, GivenTensor>,
  outputs: ReadonlyMap<string, Layout | undefined>,
): Promise<Compiled> {
  const tape = new Tape(tf)
  try {
    const recorder = new Recorder(tape, backend, graph, new Set(outputs.keys()))
    for (const [name, input] of given) recorder.give(name, input)
    for (const node of recorder.nodes) await recorder.write(node)
    const wanted = recorder.outputs(outputs)
    const slots = new Map([...wanted].map(([name, { slot }]) => [name, slot]))
    return { ...tape.finish(slots), dtypes: new Map([...wanted].map(([name, { dtype }]) => [name, dtype])) }
  } catch (error) {
    tape.abandon()
    throw error
  }
}

/** Operators that are written out where they have no writer. */
const WRITTEN_OUT: ReadonlyMap<string, Expansion> = new Map(Object.entries(EXPANSIONS))

/** The inputs of Slice that may lie beyond the axis. */
const BOUNDS: readonly number[] = [1, 2]

class Recorder {
  /** The nodes that some output needs. */
  readonly nodes: readonly Node[]
  readonly #graph: Graph
  readonly #tape: Tape
  readonly #k: Kernels
  readonly #holders: Holders
  readonly #values = new Map<Value, Held>()
  /** Values that somebody reads as more than the bounds of a Slice. */
  readonly #exact = new Set<Value>()
  /** How often each value is still to be read. */
  readonly #reads = new Map<Value, number>()

  constructor(tape: Tape, backend: Backend, graph: Graph, wanted: ReadonlySet<string>) {
    this.#graph = graph
    this.#tape = tape
    this.#k = new Kernels(tape, backend)
    this.#holders = new Holders(tape)
    const roots = graph.outputs.filter(({ name }) => wanted.has(name))
    for (const value of roots) this.#count(value)
    this.nodes = neededNodes(graph, roots)
    for (const node of this.nodes) {
      node.inputs.forEach((value, index) => {
        if (!value) return
        this.#count(value)
        if (node.opType !== 'Slice' || !BOUNDS.includes(index)) this.#exact.add(value)
      })
    }
  }

  give(name: string, { tensor, dtype, layout }: GivenTensor): void {
    const value = this.#graph.inputs.find(input => input.name === name)
    invariant(value, `the graph has no input ${name}`)
    const slot = this.#tape.input(name, tensor)
    this.#hold(value, new Held(slot, layout ?? onnxLayout(tensor.shape.length), dtype))
  }

  async write(node: Node): Promise<void> {
    const key = node.domain === ONNX_DOMAIN ? node.opType : `${node.domain}.${node.opType}`
    const row = WRITERS[key]
    const expand = WRITTEN_OUT.get(key)
    if (expand && !row) return this.#writeExpanded(node, expand)
    if (!row) {
      throw new UnsupportedError(`${node.label}: the tfjs engine has no kernels for this operator`, {
        cure: 'use --engine cpu',
      })
    }
    this.#tape.label = node.label
    const inputs = node.inputs.map(value => value && this.#held(value, node))
    const elements = new Map<number, readonly number[]>()
    for (const index of row.elements) {
      const input = inputs[index]
      if (input?.constant) elements.set(index, Array.from(await this.#tape.elements(this.#k.onnx(input))))
    }
    const reads = (output: number) => (this.#reads.get(node.outputs[output]!) ?? 0) > 0
    const context = new WriterContext({ k: this.#k, node, inputs, elements, reads })
    const found = row.write(context)
    const results = found instanceof Held ? [found] : found
    node.outputs.forEach((output, i) => {
      if (!output || !reads(i)) return
      const result = results[i]
      if (!result) throw new UnsupportedError(`${node.label}: the tfjs engine does not give output ${i}`)
      output.type = { kind: 'tensor', dtype: result.dtype, shape: result.shape }
      this.#hold(output, result)
    })
    // Forms that were made of the inputs stay with them.
    for (const value of inputs) if (value) this.#holders.hold(value)
    this.#holders.sweep()
    for (const value of node.inputs) if (value) this.#drop(value)
  }

  /** Writes the nodes that an operator without a writer is made of; Identity nodes stand for its outputs. */
  async #writeExpanded(node: Node, expand: Expansion): Promise<void> {
    for (const value of node.inputs) {
      if (!value) continue
      const { dtype, shape } = this.#held(value, node)
      value.type = { kind: 'tensor', dtype, shape }
    }
    const op = new Builder()
    const results = op.within(node.name || node.opType, () =>
      [expand(op, node)].flat().map(value => value && op.Identity(value)),
    )
    for (const { inputs } of op.nodes) for (const value of inputs) if (value) this.#count(value)
    const asked = node.outputs.map(output => (output ? (this.#reads.get(output) ?? 0) : 0))
    results.forEach((result, i) => {
      if (result && asked[i]) this.#count(result)
    })
    for (const written of op.nodes) await this.write(written)
    node.outputs.forEach((output, i) => {
      if (!output || !asked[i]) return
      const held = this.#values.get(results[i]!)!
      output.type = { kind: 'tensor', dtype: held.dtype, shape: held.shape }
      this.#values.delete(results[i]!)
      this.#values.set(output, held)
    })
    for (const value of node.inputs) if (value) this.#drop(value)
  }

  /** The wanted outputs, in their layouts. */
  outputs(wanted: ReadonlyMap<string, Layout | undefined>) {
    this.#tape.label = 'graph outputs'
    return new Map(
      [...wanted].map(([name, layout]) => {
        const value = this.#graph.outputs.find(output => output.name === name)
        invariant(value, `the graph has no output ${name}`)
        const held = this.#held(value, null)
        return [name, { slot: this.#k.in(held, layout ?? onnxLayout(held.rank)), dtype: held.dtype }]
      }),
    )
  }

  #held(value: Value, node: Node | null): Held {
    const known = this.#values.get(value)
    if (known) return known
    const where = node?.label ?? 'graph output'
    invariant(value.tensor?.resident, `${where} reads ${value.name}, which nobody has written`)
    const dtype = tfDTypeOf(value.tensor.dtype, `initializer ${value.name}`)
    const slot = this.#tape.constant(
      toTfArray(value.tensor, `initializer ${value.name}`, !this.#exact.has(value)),
      value.tensor.dims,
      dtype,
    )
    const held = new Held(slot, onnxLayout(value.tensor.dims.length), value.tensor.dtype)
    this.#hold(value, held)
    return held
  }

  #hold(value: Value, held: Held): void {
    this.#values.set(value, held)
    this.#holders.hold(held)
  }

  #count(value: Value): void {
    this.#reads.set(value, (this.#reads.get(value) ?? 0) + 1)
  }

  #drop(value: Value): void {
    const rest = this.#reads.get(value)! - 1
    this.#reads.set(value, rest)
    const held = this.#values.get(value)
    if (rest > 0 || !held) return
    this.#values.delete(value)
    this.#holders.drop(held)
  }
}

function neededNodes(graph: Graph, roots: readonly Value[]): Node[] {
  const needed = new Set<Node>()
  const pending = roots.flatMap(value => value.producer ?? [])
  for (let node = pending.pop(); node; node = pending.pop()) {
    if (needed.has(node)) continue
    needed.add(node)
    for (const value of node.inputs) if (value?.producer) pending.push(value.producer)
  }
  return graph.nodes.filter(node => needed.has(node))
}
