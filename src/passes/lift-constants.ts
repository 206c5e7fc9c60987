/** Weights in one place: `Constant` nodes become initializers, initializers stop being inputs (IR < 4). */

import { UnsupportedError } from '../util/errors.ts'
import { Tensor } from '../tensor/tensor.ts'
import type { AttributeKind, AttributeValues } from '../ir/attribute.ts'
import type { Graph } from '../ir/graph.ts'
import { ONNX_DOMAIN, type Node } from '../ir/node.ts'
import { walkGraphs } from '../ir/topology.ts'
import type { Value } from '../ir/value.ts'
import type { PassResult } from './pass.ts'
import type { Model } from '../ir/graph.ts'

/** Where a weight of the imported file was. */
export interface WeightOrigin {
  readonly kind: 'initializer' | 'constant-node'
  /** The attribute of the Constant node; null for initializers. */
  readonly attribute: string | null
  /**
   * The tensor as the file holds it, which is what a writer replaces; null where the file has none (`value_float` and
   * its kin), so that the number can be read but not written back.
   */
  readonly tensor: Tensor | null
}

/** Initializers that are inputs too exist since the first IR version; from 4 on they need not be. */
const IR_WITH_PLAIN_INITIALIZERS = 4

/** Lifts the constants of the main graph; sub-graphs stay as they are. The result also tells each weight's origin. */
export function liftConstants(model: Model): PassResult & { readonly origins: Map<Value, WeightOrigin> } {
  const { graph } = model
  const origins = weightOrigins(graph)
  const constants = new Set(graph.nodes.filter(node => isConstant(node)))
  for (const node of constants) {
    const value = node.output(0)
    value.tensor = constantTensor(node)
    value.type = { kind: 'tensor', dtype: value.tensor.dtype, shape: value.tensor.dims }
    value.producer = null
    graph.initializers.push(value)
  }
  graph.nodes = graph.nodes.filter(node => !constants.has(node))
  const feeds = graph.feeds
  const overridable = feeds.length < graph.inputs.length
  graph.inputs = feeds
  model.irVersion = Math.max(model.irVersion, IR_WITH_PLAIN_INITIALIZERS)
  return { model, modified: constants.size > 0 || overridable, origins }
}

/** The weights of one graph (not of its sub-graphs) in file order, initializers first. */
export function weightOrigins(graph: Graph): Map<Value, WeightOrigin> {
  const origins = new Map<Value, WeightOrigin>()
  for (const value of graph.initializers) {
    origins.set(value, { kind: 'initializer', attribute: null, tensor: value.tensor })
  }
  for (const node of graph.nodes) {
    if (!isConstant(node)) continue
    const attribute = [...node.attributes.keys()].find(name => name in CONSTANT_FORMS) ?? null
    origins.set(node.output(0), { kind: 'constant-node', attribute, tensor: node.tensor('value') ?? null })
  }
  return origins
}

/** Every tensor that is a weight of a model: of graphs, sub-graphs and functions; a writer can replace these. */
export function* modelTensors(model: Model): Iterable<Tensor> {
  const bodies = [model.graph, ...model.functions.map(({ graph }) => graph)]
  for (const graph of bodies.flatMap(body => [...walkGraphs(body)])) {
    for (const { tensor } of weightOrigins(graph).values()) if (tensor) yield tensor
  }
}

/** Whether a node is a `Constant`. */
export function isConstant(node: Node): boolean {
  return node.opType === 'Constant' && node.domain === ONNX_DOMAIN
}

/** The tensor of an initializer or of a value made by a `Constant` node; null for anything else. */
export function tensorOf(value: Value | null | undefined): Tensor | null {
  if (!value) return null
  if (value.tensor) return value.tensor
  return value.producer && isConstant(value.producer) ? constantTensor(value.producer) : null
}

type ConstantForm = {
  [K in AttributeKind]: { readonly kind: K; readonly read: (value: AttributeValues[K]) => Tensor }
}[AttributeKind]

/** The attributes that a `Constant` node may hold its value in (ONNX: Constant-12). */
const CONSTANT_FORMS: Readonly<Record<string, ConstantForm>> = {
  value: { kind: 'tensor', read: tensor => tensor },
  value_float: { kind: 'float', read: number => Tensor.of('float32', [], [number]) },
  value_floats: { kind: 'floats', read: numbers => Tensor.of('float32', [numbers.length], numbers) },
  value_int: { kind: 'int', read: number => Tensor.of('int64', [], [number]) },
  value_ints: { kind: 'ints', read: numbers => Tensor.of('int64', [numbers.length], numbers) },
  value_string: { kind: 'string', read: bytes => new Tensor('string', [], [bytes]) },
  value_strings: { kind: 'strings', read: list => new Tensor('string', [list.length], list) },
}

/** The tensor that a `Constant` node makes. */
export function constantTensor(node: Node): Tensor {
  for (const [name, attribute] of node.attributes) {
    const form = CONSTANT_FORMS[name]
    if (form?.kind === attribute.kind) return (form.read as (value: unknown) => Tensor)(attribute.value)
  }
  const found = [...node.attributes.keys()].join(', ') || 'no attribute'
  throw new UnsupportedError(
    `${node.label}: expected one of ${Object.keys(CONSTANT_FORMS).join(', ')}, found ${found}`,
  )
}
