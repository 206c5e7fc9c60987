/** Graph -> GraphProto, with what the file said beside it. Weights are handed to a sink, which marks their place. */

import { invariant } from '../util/errors.ts'
import { DTYPES } from '../tensor/dtype.ts'
import type { Tensor } from '../tensor/tensor.ts'
import type { Attribute } from '../ir/attribute.ts'
import type { FunctionDefinition, Graph } from '../ir/graph.ts'
import type { Node } from '../ir/node.ts'
import { Value } from '../ir/value.ts'
import { ATTRIBUTE_TYPES } from './deserialize-attribute.ts'
import {
  attributeExtra,
  functionExtra,
  graphExtra,
  nodeExtra,
  without,
  valueExtra,
  type AttributeExtra,
  type TensorExtra,
} from './extras.ts'
import { fromBigInt, withMarker } from './proto.ts'
import type {
  AttributeProto,
  FunctionProto,
  GraphProto,
  NodeProto,
  TensorProto,
  ValueInfoProto,
} from './proto.ts'
import { tensorOf, wasExternal } from './read-tensors.ts'
import { inAttribute, inSparse, type FoundTensor } from './tensor-protos.ts'
import { serializeType } from './types.ts'

/** Takes a tensor, and whether its elements were outside the file, and gives the index of its marker. */
export type TensorSink = (tensor: Tensor, external: boolean) => number

/** Names that were given, in this graph and around it. */
class Names {
  readonly #parent: Names | null
  readonly #values = new Map<string, Value>()

  constructor(parent: Names | null) {
    this.#parent = parent
  }

  define(value: Value): void {
    const known = this.#values.get(value.name)
    invariant(value.name !== '', 'a value has no name')
    invariant(!known || known === value, `two values of a graph are named "${value.name}"`)
    this.#values.set(value.name, value)
  }

  has(value: Value): boolean {
    return this.#values.get(value.name) === value
  }

  /** The name of a value, which must lead back to it; `reader` is null for an output of the graph. */
  use(value: Value, reader: Node | null): string {
    const found = this.#values.get(value.name)
    if (found === value) return value.name
    if (found || !this.#parent) {
      const what = found ? 'and another value of that name is nearer' : 'which its graph does not have'
      invariant(false, `${reader ? reader.label : 'an output'} reads "${value.name}", ${what}`)
    }
    return this.#parent.use(value, reader)
  }
}

export function serializeGraph(graph: Graph, outer: Names | null, sink: TensorSink): GraphProto {
  const names = new Names(outer)
  const extra = graphExtra(graph)
  for (const value of [...graph.inputs, ...graph.initializers]) names.define(value)
  for (const { value } of extra?.sparse ?? []) names.define(value)
  defineOutputs(graph, names)
  return {
    ...extra?.rest,
    name: graph.name,
    node: graph.nodes.map(node => serializeNode(node, names, sink)),
    initializer: graph.initializers.map(value => {
      invariant(value.tensor, `initializer "${value.name}" has no tensor`)
      return { ...serializeTensor(value.tensor, valueExtra(value)?.initializer, sink), name: value.name }
    }),
    sparse_initializer: (extra?.sparse ?? []).map(({ value, proto }) => {
      remark(inSparse(proto, value.name), sink)
      return { ...without(proto), values: { ...without(proto.values!), name: value.name } }
    }),
    input: graph.inputs.map(serializeInfo),
    output: serializeOutputs(graph, names),
    value_info: serializeValueInfo(graph, names),
  }
}

/** The last outputs that are the same value have infos of their own; the first has that of the value. */
function serializeOutputs(graph: Graph, names: Names): ValueInfoProto[] {
  return graph.outputs.map((value, i) => {
    names.use(value, null)
    const listed = graphExtra(graph)?.outputInfo.get(value)
    if (!listed) return serializeInfo(value)
    const left = graph.outputs.slice(i).filter(other => other === value).length
    const info = listed.at(-left)
    return info ? { ...without(info), name: value.name } : serializeInfo(value)
  })
}

function defineOutputs(graph: Graph, names: Names): void {
  for (const node of graph.nodes) for (const output of node.outputs) if (output) names.define(output)
}

function serializeValueInfo(graph: Graph, names: Names): ValueInfoProto[] {
  const listed = graphExtra(graph)?.valueInfo ?? []
  return listed.flatMap(item => {
    if (!(item instanceof Value)) return item
    return names.has(item) ? serializeInfo(item) : []
  })
}

function serializeInfo(value: Value): ValueInfoProto {
  const info = valueExtra(value)?.info
  const type = info && info.type === value.type ? info.proto : value.type && typeProto(value)
  return { ...info?.rest, name: value.name, ...(type ? { type } : {}) }
}

function typeProto(value: Value) {
  return serializeType(value.type!, `value "${value.name}"`)
}

export function serializeFunction(definition: FunctionDefinition, sink: TensorSink): FunctionProto {
  const { graph } = definition
  const extra = functionExtra(definition)
  const names = new Names(null)
  for (const value of graph.inputs) names.define(value)
  defineOutputs(graph, names)
  return {
    ...extra?.rest,
    ...(definition.defaults.size > 0
      ? {
          attribute_proto: [...definition.defaults].map(([name, attribute]) =>
            serializeAttribute(name, attribute, names, sink),
          ),
        }
      : {}),
    name: definition.name,
    ...(definition.domain ? { domain: definition.domain } : {}),
    ...(definition.overload ? { overload: definition.overload } : {}),
    input: graph.inputs.map(value => value.name),
    output: graph.outputs.map(value => names.use(value, null)),
    node: graph.nodes.map(node => serializeNode(node, names, sink)),
    opset_import: [...definition.opsetImports].map(([domain, version]) => ({
      ...(extra?.opsets.get(domain) ?? { domain }),
      version,
    })),
    value_info: serializeValueInfo(graph, names),
  }
}

function serializeNode(node: Node, names: Names, sink: TensorSink): NodeProto {
  return {
    ...nodeExtra(node)?.rest,
    input: node.inputs.map(value => (value ? names.use(value, node) : '')),
    output: node.outputs.map(value => value?.name ?? ''),
    op_type: node.opType,
    ...(node.name ? { name: node.name } : {}),
    ...(node.domain ? { domain: node.domain } : {}),
    ...(node.overload ? { overload: node.overload } : {}),
    attribute: [...node.attributes].map(([name, attribute]) =>
      serializeAttribute(name, attribute, names, sink),
    ),
  }
}

function serializeAttribute(
  name: string,
  attribute: Attribute,
  names: Names,
  sink: TensorSink,
): AttributeProto {
  const extra = attributeExtra(attribute)
  const { kind, value } = attribute
  if (kind === 'opaque') {
    const proto = value as AttributeProto
    remark(inAttribute(proto, ''), sink)
    return { ...without(proto), name }
  }
  const proto: AttributeProto = { ...extra?.rest, name }
  // The codes are those of the file, or of the table: numbers that need no enum of their own.
  if (kind === 'reference') return Object.assign(proto, { ref_attr_name: value.name, type: value.type })
  const type = TYPE_OF_KIND.get(kind)!
  const { field } = ATTRIBUTE_TYPES[type]
  return Object.assign(proto, { type, [field]: valueOf(attribute, extra, names, sink) })
}

type KnownType = keyof typeof ATTRIBUTE_TYPES

const TYPE_OF_KIND = new Map(
  Object.entries(ATTRIBUTE_TYPES).map(([type, { kind }]) => [kind as string, Number(type) as KnownType]),
)

function valueOf(
  attribute: Exclude<Attribute, { kind: 'opaque' | 'reference' }>,
  extra: AttributeExtra | undefined,
  names: Names,
  sink: TensorSink,
): unknown {
  switch (attribute.kind) {
    case 'int':
      return fromBigInt(attribute.value)
    case 'ints':
      return attribute.value.map(fromBigInt)
    case 'tensor':
      return serializeTensor(attribute.value, extra?.tensors[0], sink)
    case 'tensors':
      return attribute.value.map((tensor, i) => serializeTensor(tensor, extra?.tensors[i], sink))
    case 'graph':
      return serializeGraph(attribute.value, names, sink)
    case 'graphs':
      return attribute.value.map(graph => serializeGraph(graph, names, sink))
    default:
      return attribute.value
  }
}

function serializeTensor(tensor: Tensor, extra: TensorExtra | undefined, sink: TensorSink): TensorProto {
  return {
    ...extra?.rest,
    dims: [...tensor.dims],
    data_type: DTYPES[tensor.dtype].onnx,
    ...(tensor.dtype === 'string' ? { string_data: [...(tensor.data as readonly Uint8Array[])] } : {}),
    $unknowns: withMarker(extra?.rest.$unknowns, sink(tensor, extra?.external ?? false)),
  }
}

/** Renews the markers of tensors inside a message that the IR carries as it is. */
export function remark(found: Iterable<FoundTensor>, sink: TensorSink): void {
  for (const { proto } of found) {
    proto.$unknowns = withMarker(proto.$unknowns, sink(tensorOf(proto), wasExternal(proto)))
    delete proto.external_data
    delete proto.data_location
  }
}
