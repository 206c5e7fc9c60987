/** Sequences whose length and positions are known become the tensors that they hold. */

import { int, type Attribute } from '../ir/attribute.ts'
import type { Graph } from '../ir/graph.ts'
import { Node, ONNX_DOMAIN } from '../ir/node.ts'
import { Value } from '../ir/value.ts'
import { normalizeAxis } from '../tensor/shape.ts'
import { Tensor } from '../tensor/tensor.ts'
import { removeDeadNodesOf } from './dead-nodes.ts'
import { tensorOf } from './lift-constants.ts'
import { Names } from './names.ts'
import type { Pass } from './pass.ts'

/** What a node that takes sequences becomes; one that gives a sequence stays until nobody reads it. Null: not known. */
type Resolver = (node: Node, context: Context) => Node[] | null

/** Resolves what it can in the main graph, in one walk; the rest stays as it is. */
export const resolveSequences: Pass = model => {
  const { graph } = model
  const context = new Context(graph)
  const nodes = graph.nodes.flatMap(node => {
    const resolver = node.domain === ONNX_DOMAIN ? RESOLVERS[node.opType] : undefined
    return resolver?.(node, context) ?? [node]
  })
  const modified = graph.nodes.some((node, i) => nodes[i] !== node) || nodes.length !== graph.nodes.length
  graph.nodes = nodes
  if (modified) removeDeadNodesOf(graph)
  return { model, modified }
}

/** Operators on sequences, for messages about those that are left. */
export const isSequenceOperator = (node: Node): boolean =>
  node.domain === ONNX_DOMAIN && node.opType in RESOLVERS && node.opType !== 'Identity'

const RESOLVERS: Readonly<Record<string, Resolver>> = {
  SequenceEmpty: (node, context) => context.hold(node, []),
  SequenceConstruct: (node, context) =>
    context.hold(
      node,
      node.inputs.map((_, i) => node.input(i)),
    ),
  SequenceInsert: (node, context) => {
    const elements = context.elements(node)
    const position = context.position(node, 2, elements?.length ?? 0, elements?.length)
    if (!elements || position === null) return null
    return context.hold(node, elements.toSpliced(position, 0, node.input(1)))
  },
  SequenceErase: (node, context) => {
    const elements = context.elements(node)
    const position = context.position(node, 1, (elements?.length ?? 0) - 1, elements?.length)
    if (!elements || position === null) return null
    return context.hold(node, elements.toSpliced(position, 1))
  },
  SequenceAt: (node, context) => {
    const elements = context.elements(node)
    const position = context.position(node, 1, null, elements?.length)
    const element = position === null ? undefined : elements?.[position]
    return element ? [context.make('Identity', [element], [node.output(0)])] : null
  },
  SequenceLength: (node, context) => {
    const elements = context.elements(node)
    if (!elements) return null
    const length = context.constant(node, Tensor.scalar('int64', elements.length))
    return [context.make('Identity', [length], [node.output(0)])]
  },
  Identity: (node, context) => {
    const elements = context.elements(node)
    return elements ? context.hold(node, elements) : null
  },
  ConcatFromSequence: (node, context) => {
    const elements = context.elements(node)
    if (!elements || elements.length === 0) return null
    const axis = node.int('axis', 0)
    if (node.int('new_axis', 0) === 0)
      return [context.make('Concat', elements, [node.output(0)], { axis: int(axis) })]
    const axes = context.constant(node, Tensor.of('int64', [1], [BigInt(axis)]))
    const layers = elements.map(() => context.value(node))
    return [
      ...elements.map((element, i) => context.make('Unsqueeze', [element, axes], [layers[i]!])),
      context.make('Concat', layers, [node.output(0)], { axis: int(axis) }),
    ]
  },
  SplitToSequence: splitToSequence,
}

/** Sizes by number (the last part may be smaller), by a list, or 1 each, which `keepdims` 0 drops. */
function splitToSequence(node: Node, context: Context): Node[] | null {
  const shape = node.input(0).staticShape
  const given = node.inputs[1]
  const split = tensorOf(given)
  if (!shape || (given && !split?.resident)) return null
  const axis = normalizeAxis(node.int('axis', 0), shape.length, node.label)
  const length = shape[axis]!
  const sizes =
    split?.dims.length === 1 ? split.toNumbers() : parts(length, split ? split.toNumbers()[0]! : 1)
  const pieces = sizes.map(() => context.value(node))
  const list = context.constant(node, Tensor.of('int64', [sizes.length], sizes.map(BigInt)))
  const nodes = [context.make('Split', [node.input(0), list], pieces, { axis: int(axis) })]
  if (given || node.int('keepdims', 1) === 1) return [...nodes, ...context.hold(node, pieces)]
  const axes = context.constant(node, Tensor.of('int64', [1], [BigInt(axis)]))
  const squeezed = pieces.map(() => context.value(node))
  pieces.forEach((piece, i) => nodes.push(context.make('Squeeze', [piece, axes], [squeezed[i]!])))
  return [...nodes, ...context.hold(node, squeezed)]
}

function parts(length: number, size: number): number[] {
  const count = Math.ceil(length / size)
  return Array.from({ length: count }, (_, i) => Math.min(size, length - i * size))
}

class Context {
  readonly #graph: Graph
  readonly #names: Names
  readonly #held = new Map<Value, readonly Value[]>()

  constructor(graph: Graph) {
    this.#graph = graph
    this.#names = new Names(graph)
  }

  /** Notes what a node's output holds. */
  hold(node: Node, elements: readonly Value[]): Node[] {
    this.#held.set(node.output(0), elements)
    return [node]
  }

  /** The tensors of the sequence that a node takes first, or undefined where they are not known. */
  elements(node: Node): readonly Value[] | undefined {
    return this.#held.get(node.input(0))
  }

  /** A position, negative ones counted from the end; null where it is not known or out of bounds. */
  position(node: Node, index: number, fallback: number | null, length = 0): number | null {
    const given = node.inputs[index]
    if (!given) return fallback
    const tensor = tensorOf(given)
    if (!tensor?.resident) return null
    const position = tensor.toNumbers()[0]!
    const from = position < 0 ? position + length : position
    return from >= 0 && from <= length ? from : null
  }

  value(node: Node): Value {
    return new Value(this.#names.fresh(`${node.name || node.opType}/element`))
  }

  constant(node: Node, tensor: Tensor): Value {
    const value = Value.constant(this.#names.fresh(`${node.name || node.opType}/constant`), tensor)
    this.#graph.initializers.push(value)
    return value
  }

  make(
    opType: string,
    inputs: readonly Value[],
    outputs: readonly Value[],
    attributes: Readonly<Record<string, Attribute>> = {},
  ): Node {
    const name = this.#names.fresh(`${outputs[0]!.name}/${opType}`)
    return new Node(opType, inputs, outputs, { name, attributes: new Map(Object.entries(attributes)) })
  }
}
