/**
 * What a file says and the IR does not model, kept so that a loaded model can be written back whole. Each record is a
 * message without the fields that the IR holds; `extra` members of the IR are written here and read by `serialize` only.
 */

import type { Attribute } from '../ir/attribute.ts'
import type { FunctionDefinition, Graph, Model } from '../ir/graph.ts'
import type { Node } from '../ir/node.ts'
import type { Value, ValueType } from '../ir/value.ts'
import { isExternal, isMarker } from './proto.ts'
import type {
  AttributeProto,
  FunctionProto,
  GraphProto,
  ModelProto,
  NodeProto,
  OperatorSetIdProto,
  SparseTensorProto,
  StringStringEntryProto,
  TensorProto,
  TypeProto,
  ValueInfoProto,
} from './proto.ts'

export interface ModelExtra {
  readonly rest: ModelProto
  /** The entries that `metadata` and `opsetImports` came from, by key and by normalised domain. */
  readonly metadata: ReadonlyMap<string, StringStringEntryProto>
  readonly opsets: ReadonlyMap<string, OperatorSetIdProto>
}

export interface GraphExtra {
  readonly rest: GraphProto
  /** value_info in the file's order: of values that the graph has, or as it stands. */
  readonly valueInfo: readonly (Value | ValueInfoProto)[]
  /** Infos of outputs whose Value carries the info of another listing: of an input, or of the same output before. */
  readonly outputInfo: ReadonlyMap<Value, readonly ValueInfoProto[]>
  readonly sparse: readonly { readonly value: Value; readonly proto: SparseTensorProto }[]
}

export interface FunctionExtra {
  readonly rest: FunctionProto
  readonly opsets: ReadonlyMap<string, OperatorSetIdProto>
}

export interface NodeExtra {
  readonly rest: NodeProto
}

export interface ValueExtra {
  /** Its entry among inputs, outputs or value_info, and the type that was read from it. */
  info?: { readonly rest: ValueInfoProto; readonly type: ValueType | null; readonly proto: TypeProto | null }
  /** Its entry among initializers. */
  initializer?: TensorExtra
}

export interface TensorExtra {
  readonly rest: TensorProto
  /** Whether its elements were in another file. */
  readonly external: boolean
}

export interface AttributeExtra {
  readonly rest: AttributeProto
  /** One for each tensor of the attribute. */
  readonly tensors: readonly TensorExtra[]
}

export const modelExtra = (model: Model) => model.extra as ModelExtra | undefined
export const graphExtra = (graph: Graph) => graph.extra as GraphExtra | undefined
export const functionExtra = (definition: FunctionDefinition) => definition.extra as FunctionExtra | undefined
export const nodeExtra = (node: Node) => node.extra as NodeExtra | undefined
export const valueExtra = (value: Value) => value.extra as ValueExtra | undefined
export const attributeExtra = (attribute: Attribute) => attribute.extra as AttributeExtra | undefined

/** What a TensorProto says besides its elements; the name of an initializer is its Value's. */
export function tensorExtra(proto: TensorProto, named: boolean): TensorExtra {
  const rest: TensorProto = without(
    proto,
    'dims',
    'data_type',
    'string_data',
    'external_data',
    'data_location',
  )
  const unknowns = proto.$unknowns?.filter(unknown => !isMarker(unknown)) ?? []
  delete rest.$unknowns
  if (unknowns.length > 0) rest.$unknowns = unknowns
  if (named) delete rest.name
  return { rest, external: isExternal(proto) }
}

/** A copy of a message without the named fields. Unknown fields, which protobufjs hides from copying, come along. */
export function without<T extends { $unknowns?: Uint8Array[] }, K extends keyof T = never>(
  message: T,
  ...fields: readonly K[]
): Omit<T, K> {
  const rest = { ...message }
  if (message.$unknowns) rest.$unknowns = message.$unknowns
  for (const field of fields) Reflect.deleteProperty(rest, field)
  return rest
}
