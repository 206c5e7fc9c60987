/** AttributeProto -> Attribute. */

import { InputError } from '../util/errors.ts'
import type { Attribute, AttributeKind } from '../ir/attribute.ts'
import type { Graph } from '../ir/graph.ts'
import { tensorExtra, without, type AttributeExtra } from './extras.ts'
import { toBigInt, type AttributeProto, type GraphProto } from './proto.ts'
import { tensorOf } from './read-tensors.ts'
import type { Scope } from './scope.ts'

/** Reads the body of an If, Loop or Scan. */
export type SubgraphReader = (proto: GraphProto, label: string, outer: Scope) => Graph

/** AttributeProto.AttributeType -> the kind in the IR and the field of the message. */
export const ATTRIBUTE_TYPES = {
  1: { kind: 'float', field: 'f' },
  2: { kind: 'int', field: 'i' },
  3: { kind: 'string', field: 's' },
  4: { kind: 'tensor', field: 't' },
  5: { kind: 'graph', field: 'g' },
  6: { kind: 'floats', field: 'floats' },
  7: { kind: 'ints', field: 'ints' },
  8: { kind: 'strings', field: 'strings' },
  9: { kind: 'tensors', field: 'tensors' },
  10: { kind: 'graphs', field: 'graphs' },
} as const satisfies Record<number, { kind: AttributeKind; field: keyof AttributeProto }>

type KnownType = keyof typeof ATTRIBUTE_TYPES

export function deserializeAttribute(
  proto: AttributeProto,
  where: string,
  scope: Scope,
  readSubgraph: SubgraphReader,
): Attribute {
  const name = proto.name ?? ''
  if (name === '') throw new InputError(`${where}: an attribute has no name`)
  const label = `${where}: attribute ${name}`
  const type = typeOf(proto, label)
  checkSingleValue(proto, type, label)
  if (proto.ref_attr_name) {
    const extra = restOf(proto, ['ref_attr_name'])
    return { kind: 'reference', value: { name: proto.ref_attr_name, type }, ...extra }
  }
  if (!(type in ATTRIBUTE_TYPES)) return { kind: 'opaque', value: proto }
  const { kind, field } = ATTRIBUTE_TYPES[type as KnownType]
  const extra = restOf(proto, [field])
  switch (kind) {
    case 'float':
      return { kind, value: proto.f ?? 0, ...extra }
    case 'int':
      return { kind, value: toBigInt(proto.i ?? 0), ...extra }
    case 'string':
      return { kind, value: proto.s ?? new Uint8Array(0), ...extra }
    case 'tensor': {
      if (!proto.t) throw new InputError(`${label} is of type tensor and holds none`)
      return { kind, value: tensorOf(proto.t), ...extra }
    }
    case 'graph': {
      if (!proto.g) throw new InputError(`${label} is of type graph and holds none`)
      return { kind, value: readSubgraph(proto.g, label, scope), ...extra }
    }
    case 'floats':
      return { kind, value: proto.floats ?? [], ...extra }
    case 'ints':
      return { kind, value: (proto.ints ?? []).map(toBigInt), ...extra }
    case 'strings':
      return { kind, value: proto.strings ?? [], ...extra }
    case 'tensors':
      return { kind, value: (proto.tensors ?? []).map(tensorOf), ...extra }
    case 'graphs': {
      const graphs = (proto.graphs ?? []).map(graph => readSubgraph(graph, label, scope))
      return { kind, value: graphs, ...extra }
    }
  }
}

/** The stated type; IR version 1 had none, there the field in use tells. */
function typeOf(proto: AttributeProto, label: string): number {
  if (proto.type || proto.ref_attr_name) return proto.type ?? 0
  const used = Object.entries(ATTRIBUTE_TYPES).filter(([, { field }]) => isPresent(proto[field]))
  if (used.length !== 1) throw new InputError(`${label} has no type and ${used.length} values`)
  return Number(used[0]![0])
}

/** A second value beside the stated one would be lost; numbers and strings are carried, whoever wrote them. */
function checkSingleValue(proto: AttributeProto, type: number, label: string): void {
  const used = proto.ref_attr_name ? undefined : FIELD_OF_TYPE.get(type)
  const other = BIG_FIELDS.find(field => field !== used && isPresent(proto[field]))
  if (other === undefined) return
  throw new InputError(`${label} of type ${type} holds a second value in ${other}`)
}

const BIG_FIELDS = ['t', 'g', 'tensors', 'graphs', 'sparse_tensor', 'sparse_tensors'] as const

const FIELD_OF_TYPE = new Map<number, keyof AttributeProto>([
  ...Object.entries(ATTRIBUTE_TYPES).map(([type, { field }]) => [Number(type), field] as const),
  [11, 'sparse_tensor'],
  [12, 'sparse_tensors'],
])

function isPresent(value: unknown): boolean {
  return Array.isArray(value) ? value.length > 0 : value !== null && value !== undefined
}

/** Everything but the name, the type and the value; absent when there is nothing. */
function restOf(proto: AttributeProto, value: readonly (keyof AttributeProto)[]): { extra?: AttributeExtra } {
  const rest = without(proto, 'name', 'type', ...value)
  const tensors = proto.t ? [proto.t] : (proto.tensors ?? [])
  if (Object.keys(rest).length === 0 && tensors.length === 0) return {}
  return { extra: { rest, tensors: tensors.map(tensor => tensorExtra(tensor, false)) } }
}
