/** Every TensorProto of a model, wherever it is, with the words that name it in messages. */

import type { AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto } from './proto.ts'
import type { SparseTensorProto, TensorProto, TrainingInfoProto } from './proto.ts'

export interface FoundTensor {
  readonly proto: TensorProto
  readonly label: string
}

type Found = Iterable<FoundTensor>

export function* tensorProtos(model: ModelProto): Found {
  if (model.graph) yield* inGraph(model.graph, '')
  for (const definition of model.functions ?? []) yield* inFunction(definition)
  for (const training of model.training_info ?? []) yield* inTraining(training)
}

export function* inTraining(training: TrainingInfoProto): Found {
  if (training.initialization) yield* inGraph(training.initialization, 'training_info: ')
  if (training.algorithm) yield* inGraph(training.algorithm, 'training_info: ')
}

function* inGraph(graph: GraphProto, where: string): Found {
  for (const proto of graph.initializer ?? [])
    yield { proto, label: `${where}initializer "${proto.name ?? ''}"` }
  for (const sparse of graph.sparse_initializer ?? []) {
    yield* inSparse(sparse, `${where}sparse initializer "${sparse.values?.name ?? ''}"`)
  }
  yield* inNodes(graph.node ?? [], where)
}

function* inFunction(definition: FunctionProto): Found {
  const where = `function "${definition.name ?? ''}": `
  yield* inAttributes(definition.attribute_proto ?? [], where)
  yield* inNodes(definition.node ?? [], where)
}

function* inNodes(nodes: readonly NodeProto[], where: string): Found {
  for (const node of nodes) {
    const name = node.name ? node.name : (node.output?.[0] ?? '')
    yield* inAttributes(node.attribute ?? [], `${where}${node.op_type ?? 'node'} "${name}": `)
  }
}

function* inAttributes(attributes: readonly AttributeProto[], where: string): Found {
  for (const attribute of attributes) yield* inAttribute(attribute, where)
}

export function* inAttribute(attribute: AttributeProto, where: string): Found {
  const label = `${where}attribute ${attribute.name ?? ''}`
  if (attribute.t) yield { proto: attribute.t, label }
  for (const proto of attribute.tensors ?? []) yield { proto, label }
  if (attribute.sparse_tensor) yield* inSparse(attribute.sparse_tensor, label)
  for (const sparse of attribute.sparse_tensors ?? []) yield* inSparse(sparse, label)
  if (attribute.g) yield* inGraph(attribute.g, `${label}: `)
  for (const graph of attribute.graphs ?? []) yield* inGraph(graph, `${label}: `)
}

export function* inSparse(sparse: SparseTensorProto, label: string): Found {
  if (sparse.values) yield { proto: sparse.values, label: `${label}: values` }
  if (sparse.indices) yield { proto: sparse.indices, label: `${label}: indices` }
}
