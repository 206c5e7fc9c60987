/**
 * Recomputation of activations: between two cuts of the forward pass (segments.ts) nothing is kept; the backward pass
 * computes it again from what crossed the first cut. The same operators on the same values, so that gradients are the
 * same to the last bit, and running statistics are not touched, for they follow from the first time alone.
 *
 * What is computed again reads the cut behind an After (composites.ts) whose signal is the gradient that arrives at the
 * segment: so no optimizer merges it with the forward pass, and no executor runs it before it is needed.
 */

import { after, isComposite } from '../autodiff/composites.ts'
import type { Builder } from '../ir/builder.ts'
import { ONNX_DOMAIN, Node } from '../ir/node.ts'
import { Value } from '../ir/value.ts'
import { byteLengthOf } from '../tensor/dtype.ts'
import { sizeOf } from '../tensor/shape.ts'
import { chooseSegments, type Span } from './segments.ts'

export interface RecomputeOptions {
  /** Values of fewer bytes are kept: default 64 KiB. */
  readonly smallest?: number
}

/** What a step is made of before the optimizer: nodes in topological order. */
export interface Step {
  /** What is fed at each step. */
  readonly inputs: readonly Value[]
  readonly forward: readonly Node[]
  readonly backward: readonly Node[]
}

const SMALLEST = 2 ** 16

/** Operators whose second run would not give the same. */
const RANDOM: ReadonlySet<string> = new Set([
  ...['RandomNormal', 'RandomNormalLike', 'RandomUniform', 'RandomUniformLike'],
  ...['Bernoulli', 'Multinomial', 'Dropout'],
])

/** Rewrites the backward pass to compute again what it reads; returns its nodes in their new order. */
export function recompute(op: Builder, step: Step, options: RecomputeOptions = {}): Node[] {
  const activations = new Activations(step, options.smallest ?? SMALLEST)
  const segments = chooseSegments(activations.spans(), step.forward.length)
  const kept = new Set([-1, ...segments.map(({ end }) => end)].flatMap(cut => activations.crossing(cut)))
  const isSource = (value: Value) => kept.has(value) && activations.isLarge(value)
  let backward = [...step.backward]
  for (const { begin, end, kept } of segments) {
    if (!kept) backward = again(op, step.forward.slice(begin + 1, end + 1), backward, isSource)
  }
  return backward
}

/** The large values that depend on what a step is fed. */
class Activations {
  readonly #born = new Map<Value, number>()
  readonly #lastRead = new Map<Value, number>()
  readonly #saved: ReadonlySet<Value>
  readonly #smallest: number

  constructor({ inputs, forward, backward }: Step, smallest: number) {
    this.#smallest = smallest
    this.#saved = new Set(backward.flatMap(node => node.inputs.filter(input => input !== null)))
    for (const input of inputs) this.#born.set(input, -1)
    forward.forEach((node, i) => {
      const read = node.inputs.filter(input => input !== null && this.#born.has(input))
      for (const value of read) this.#lastRead.set(value!, i)
      if (read.length > 0) for (const output of node.outputs) if (output) this.#born.set(output, i)
    })
  }

  /** Whether a value counts in memory. */
  isLarge(value: Value): boolean {
    const { staticShape } = value
    return (
      this.#born.has(value) &&
      staticShape !== null &&
      byteLengthOf(value.dtype, sizeOf(staticShape)) >= this.#smallest
    )
  }

  spans(): Span[] {
    return [...this.#born].flatMap(([value, born]) => {
      if (!this.isLarge(value)) return []
      const bytes = byteLengthOf(value.dtype, sizeOf(value.shape))
      // A step input is there anyway: to keep it costs nothing.
      const held = born === -1 ? 0 : bytes
      const lastRead = this.#lastRead.get(value) ?? born
      return [{ bytes: held, born, lastRead, saved: this.#saved.has(value) }]
    })
  }

  /** The values that are born up to a node and read behind it. */
  crossing(position: number): Value[] {
    return [...this.#born].flatMap(([value, born]) =>
      born <= position && (this.#lastRead.get(value) ?? born) > position ? [value] : [],
    )
  }
}

/** Computes a segment again in front of the first node of the backward pass that reads from it. */
function again(
  op: Builder,
  nodes: readonly Node[],
  backward: readonly Node[],
  isSource: (value: Value) => boolean,
): Node[] {
  const possible = recomputable(nodes, isSource)
  const isPossible = (value: Value | null): value is Value => value !== null && possible.has(value)
  const needed = new Set(backward.flatMap(node => node.inputs.filter(isPossible)))
  const reads = (node: Node) => node.inputs.some(input => input && needed.has(input))
  const first = backward.findIndex(reads)
  const signal = first < 0 ? null : signalAt(backward, first)
  if (!signal) return [...backward]

  // 1. What is needed for what is needed, from the last node back.
  const repeated = nodes.toReversed().filter(node => {
    if (!node.outputs.some(output => output && needed.has(output))) return false
    for (const input of node.inputs) if (isPossible(input)) needed.add(input)
    return true
  })
  // 2. Copies, which read copies, and what is kept behind an After. What is fed waits for nothing where another does.
  const copies = new Map<Value, Value>()
  const late = (value: Value): Value => {
    const known = copies.get(value)
    if (known || !isSource(value)) return known ?? value
    const copy = op.within(`recompute/${value.name}`, () => after(op, value, signal))
    copies.set(value, copy)
    return copy
  }
  for (const node of repeated.reverse()) {
    const waits = node.inputs.some(
      input => input && (possible.has(input) || (isSource(input) && input.producer)),
    )
    const inputs = node.inputs.map(input => input && (waits && !input.producer ? input : late(input)))
    op.nodes.push(copyOf(op, node, inputs, copies))
  }
  // 3. The backward pass reads the copies.
  for (const node of backward) {
    node.inputs = node.inputs.map(input => (isPossible(input) ? (copies.get(input) ?? input) : input))
  }
  return [...backward.slice(0, first), ...op.nodes.splice(0), ...backward.slice(first)]
}

/** The values of some nodes that follow from sources. */
function recomputable(nodes: readonly Node[], isSource: (value: Value) => boolean): Set<Value> {
  const possible = new Set<Value>()
  for (const node of nodes) {
    const follows = node.inputs.some(input => input && (possible.has(input) || isSource(input)))
    if (!follows || !isRepeatable(node)) continue
    for (const output of resultsOf(node)) if (!isSource(output)) possible.add(output)
  }
  return possible
}

function isRepeatable(node: Node): boolean {
  return [...node.subgraphs()].length === 0 && !(node.domain === ONNX_DOMAIN && RANDOM.has(node.opType))
}

/** The outputs of a node that a copy gives: the statistics of a batch norm are inputs of its copy. */
function resultsOf(node: Node): Value[] {
  const outputs = isBatchNorm(node) ? node.outputs.slice(0, 1) : node.outputs
  return outputs.filter(output => output !== null)
}

function isBatchNorm(node: Node): boolean {
  return isComposite(node) && node.opType === 'BatchNormTrain'
}

/** A copy of a node; `copies` receives its outputs. */
function copyOf(op: Builder, node: Node, inputs: readonly (Value | null)[], copies: Map<Value, Value>): Node {
  const results = resultsOf(node)
  const outputs = node.outputs.map(output => {
    if (!output || !results.includes(output)) return null
    const copy = new Value(op.uniqueName(`recompute/${output.name}`), output.type)
    copies.set(output, copy)
    return copy
  })
  const statistics = isBatchNorm(node) ? [node.output(1), node.output(2)] : []
  const { opType, domain, overload, attributes } = node
  const name = op.uniqueName(`recompute/${node.name}`)
  const options = { name, domain, overload, attributes: new Map(attributes) }
  return new Node(opType, [...inputs, ...statistics], outputs, options)
}

/**
 * The gradient that arrives where the backward pass reaches a segment: of the nodes from `first` on, the first that reads
 * something of the backward pass before it. That cannot depend on what is computed again.
 */
function signalAt(backward: readonly Node[], first: number): Value | null {
  const before = new Set(backward.slice(0, first).flatMap(node => node.outputs))
  const isGradient = (value: Value | null): value is Value =>
    value !== null && before.has(value) && value.dtype.startsWith('float') && sizeOf(value.shape) > 0
  for (const node of backward.slice(first)) {
    const found = node.inputs.find(isGradient)
    if (found) return found
  }
  return null
}
