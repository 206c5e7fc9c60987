/** GraphProto and FunctionProto bodies -> Graph, in one pass over nodes once all names are known. */

import { InputError, messageOf } from '../util/errors.ts'
import { formatShape } from '../tensor/shape.ts'
import { Graph } from '../ir/graph.ts'
import { Node, ONNX_DOMAIN } from '../ir/node.ts'
import { sortNodes } from '../ir/topology.ts'
import { Value } from '../ir/value.ts'
import { deserializeAttribute } from './deserialize-attribute.ts'
import { tensorExtra, without, type GraphExtra, type NodeExtra, type ValueExtra } from './extras.ts'
import type {
  FunctionProto,
  GraphProto,
  NodeProto,
  SparseTensorProto,
  TensorProto,
  ValueInfoProto,
} from './proto.ts'
import { tensorOf } from './read-tensors.ts'
import { Scope } from './scope.ts'
import { deserializeType } from './types.ts'

/** `ai.onnx` and the empty name are the same domain. */
export function normalizeDomain(domain: string | null | undefined): string {
  return domain === 'ai.onnx' ? ONNX_DOMAIN : (domain ?? ONNX_DOMAIN)
}

/** Reads a graph; `outer` holds the names that a sub-graph may use. */
export function deserializeGraph(proto: GraphProto, label: string, outer: Scope | null): Graph {
  const graph = new Graph(proto.name ?? '')
  const scope = new Scope(label, outer)
  graph.inputs = (proto.input ?? []).map(info => scope.define(valueOf(info, label), 'input'))
  graph.initializers = (proto.initializer ?? []).map(tensor => deserializeInitializer(tensor, scope))
  if (new Set(graph.initializers).size < graph.initializers.length) {
    const twice = graph.initializers.find((value, i, all) => all.indexOf(value) !== i)
    throw new InputError(`${label}: initializer "${twice!.name}" is given twice`)
  }
  const sparse = (proto.sparse_initializer ?? []).map(tensor => ({
    value: defineSparse(tensor, scope),
    proto: tensor,
  }))
  graph.nodes = deserializeNodes(proto.node ?? [], scope)
  const outputInfo = new Map<Value, ValueInfoProto[]>()
  graph.outputs = (proto.output ?? []).map(info => {
    const value = scope.resolve(info.name ?? '', 'an output')
    if (!claimInfo(value, info, label)) outputInfo.set(value, [...(outputInfo.get(value) ?? []), info])
    return value
  })
  const rest = without(proto, ...GRAPH_FIELDS)
  graph.extra = {
    rest,
    valueInfo: readValueInfo(proto.value_info, scope),
    outputInfo,
    sparse,
  } satisfies GraphExtra
  return graph
}

const GRAPH_FIELDS = [
  ...(['name', 'node', 'initializer', 'sparse_initializer'] as const),
  ...(['input', 'output', 'value_info'] as const),
]

/** Reads a function's body: inputs and outputs are bare names, and nothing outside can be seen. */
export function deserializeBody(proto: FunctionProto, label: string): Graph {
  const graph = new Graph(proto.name ?? '')
  const scope = new Scope(label, null)
  graph.inputs = (proto.input ?? []).map(name => scope.define(new Value(name), 'input'))
  graph.nodes = deserializeNodes(proto.node ?? [], scope)
  graph.outputs = (proto.output ?? []).map(name => scope.resolve(name, 'an output'))
  const valueInfo = readValueInfo(proto.value_info, scope)
  graph.extra = { rest: {}, valueInfo, outputInfo: new Map(), sparse: [] } satisfies GraphExtra
  return graph
}

function deserializeNodes(protos: readonly NodeProto[], scope: Scope): Node[] {
  // 1. All outputs first: a file may list nodes in any order, and an inner graph sees names of its whole outer graph.
  const outputs = protos.map((proto, index) =>
    (proto.output ?? []).map(name =>
      name === '' ? null : scope.define(new Value(name), `output of ${nodeLabel(proto, index)}`),
    ),
  )
  scope.expect(outputs.flat().filter(value => value !== null))
  // 2. Inputs and attributes, in the file's order.
  const nodes = protos.map((proto, index) => {
    const label = nodeLabel(proto, index)
    if (!proto.op_type) throw new InputError(`${scope.label}: ${label} has no op_type`)
    const inputs = (proto.input ?? []).map((name, i) =>
      name === '' ? null : scope.resolve(name, `input ${i} of ${label}`),
    )
    const node = new Node(proto.op_type, inputs, outputs[index]!, {
      name: proto.name ?? '',
      domain: normalizeDomain(proto.domain),
      overload: proto.overload ?? '',
    })
    for (const attribute of proto.attribute ?? []) {
      const name = attribute.name ?? ''
      if (node.attributes.has(name))
        throw new InputError(`${scope.label}: ${label}: attribute ${name} is given twice`)
      node.attributes.set(
        name,
        deserializeAttribute(attribute, `${scope.label}: ${label}`, scope, deserializeGraph),
      )
    }
    const rest: NodeProto = without(proto, ...NODE_FIELDS)
    if (proto.domain && proto.domain !== node.domain) rest.domain = proto.domain
    if (Object.keys(rest).length > 0) node.extra = { rest } satisfies NodeExtra
    for (const output of outputs[index]!) if (output) scope.arrived(output)
    return node
  })
  return scope.unordered ? inOrder(nodes, scope.label) : nodes
}

function inOrder(nodes: readonly Node[], where: string): Node[] {
  try {
    return sortNodes(nodes)
  } catch (error) {
    throw new InputError(`${where}: ${messageOf(error)}`, { cause: error })
  }
}

const NODE_FIELDS = ['input', 'output', 'name', 'op_type', 'domain', 'overload', 'attribute'] as const

function nodeLabel(proto: NodeProto, index: number): string {
  return `node ${index} (${proto.op_type ?? '?'}${proto.name ? ` "${proto.name}"` : ''})`
}

function valueOf(info: ValueInfoProto, where: string): Value {
  const value = new Value(info.name ?? '')
  claimInfo(value, info, where)
  return value
}

/**
 * Gives a value its type and the rest of its info, unless another listing did: then false. The type of a weight is that
 * of its tensor, whatever is declared.
 */
function claimInfo(value: Value, info: ValueInfoProto, where: string): boolean {
  const extra = (value.extra ?? {}) as ValueExtra
  if (extra.info) return false
  const declared = deserializeType(info.type, `${where}: value "${value.name}"`)
  if (value.tensor === null) value.type = declared
  extra.info = { rest: without(info, 'name', 'type'), type: value.type, proto: info.type ?? null }
  value.extra = extra
  return true
}

function readValueInfo(
  infos: readonly ValueInfoProto[] | null | undefined,
  scope: Scope,
): (Value | ValueInfoProto)[] {
  return (infos ?? []).map(info => {
    const value = scope.own(info.name ?? '')
    return value && claimInfo(value, info, scope.label) ? value : info
  })
}

function deserializeInitializer(proto: TensorProto, scope: Scope): Value {
  const tensor = tensorOf(proto)
  const name = proto.name ?? ''
  const input = scope.own(name)
  const value = input ?? scope.define(Value.constant(name, tensor), 'initializer')
  if (input?.type?.kind === 'tensor' && input.type.dtype !== tensor.dtype) {
    const [declared, found] = [input.type.dtype, `${tensor.dtype}${formatShape(tensor.dims)}`]
    throw new InputError(
      `${scope.label}: initializer "${name}" is declared as ${declared} but holds ${found}`,
    )
  }
  const { info } = (value.extra ?? {}) as ValueExtra
  value.tensor = tensor
  value.type = { kind: 'tensor', dtype: tensor.dtype, shape: tensor.dims }
  value.extra = {
    ...(info ? { info: { ...info, type: value.type } } : {}),
    initializer: tensorExtra(proto, true),
  } satisfies ValueExtra
  return value
}

/** A sparse initializer has a dense type and no tensor: its elements stay in the message. */
function defineSparse(proto: SparseTensorProto, scope: Scope): Value {
  if (!proto.values) throw new InputError(`${scope.label}: a sparse initializer has no values`)
  const { dtype } = tensorOf(proto.values)
  const shape = (proto.dims ?? []).map(Number)
  return scope.define(Value.typed(proto.values.name ?? '', dtype, shape), 'sparse initializer')
}
