/** ModelProto -> Model. */

import { InputError } from '../util/errors.ts'
import { MemorySource, type ByteSource } from '../tensor/source.ts'
import type { Tensor } from '../tensor/tensor.ts'
import { FunctionDefinition, Model } from '../ir/graph.ts'
import { ONNX_DOMAIN } from '../ir/node.ts'
import { walkNodes } from '../ir/topology.ts'
import { deserializeAttribute } from './deserialize-attribute.ts'
import { deserializeBody, deserializeGraph, normalizeDomain } from './deserialize-graph.ts'
import { without, type FunctionExtra, type ModelExtra } from './extras.ts'
import { OPSET_MAX, OPSET_MIN } from './limits.ts'
import {
  decodeModel,
  toNumber,
  type FunctionProto,
  type ModelProto,
  type OperatorSetIdProto,
} from './proto.ts'
import type { ExternalReader } from './read-tensor.ts'
import { readTensors, type TensorPlace } from './read-tensors.ts'
import { scanModel, type Scan } from './scan.ts'
import { Scope } from './scope.ts'

export interface DeserializeOptions {
  /** Accept any version of the default operator set: for looking at a model, not for working with it. */
  anyOpset?: boolean
}

export interface ReadModel {
  readonly model: Model
  readonly scan: Scan
  /** Where in the file each tensor is. */
  readonly places: ReadonlyMap<Tensor, TensorPlace>
}

/** A model from memory; its weights are views of `bytes`. External data cannot be found from here. */
export async function deserializeModel(
  bytes: Uint8Array,
  name = 'model',
  options: DeserializeOptions = {},
): Promise<Model> {
  const { model } = await readModel(new MemorySource(bytes, name), refuseExternal, options)
  return model
}

/** Of models in memory, which have no folder. */
export const refuseExternal: ExternalReader = (_entries, _length, where) => {
  throw new InputError(`${where}: the elements are in another file`, {
    cure: 'load the model from its path, with its data files beside it, or store its weights inside',
  })
}

/** Scans, decodes and deserializes one source. */
export async function readModel(
  source: ByteSource,
  external: ExternalReader,
  options: DeserializeOptions,
): Promise<ReadModel> {
  const scan = await scanModel(source, 'refuse')
  const proto = decodeModel(scan.outline, source.name)
  if (!proto.graph || !proto.ir_version) {
    throw new InputError(
      `${source.name}: not an ONNX model: expected a ModelProto with ir_version and graph`,
      {
        cure: 'if the file holds a single FunctionProto, GraphProto or TensorProto, wrap it in a model first',
      },
    )
  }
  const places = await readTensors(proto, scan.tensors, { source, external })
  const model = deserializeProto(proto, source.name)
  if (!options.anyOpset) checkOpsets(model, source.name)
  return { model, scan, places }
}

function deserializeProto(proto: ModelProto, name: string): Model {
  const opsets = readOpsets(proto.opset_import, name)
  const versions = new Map([...opsets].map(([domain, entry]) => [domain, versionOf(entry, name)]))
  const graph = deserializeGraph(proto.graph!, name, null)
  const model = new Model(graph, toNumber(proto.ir_version!, `${name}: ir_version`), versions)
  model.producerName = proto.producer_name ?? ''
  model.producerVersion = proto.producer_version ?? ''
  model.functions = (proto.functions ?? []).map(definition => deserializeFunction(definition, name))
  const ids = model.functions.map(definition => functionId(definition))
  const twice = ids.find((id, i) => ids.indexOf(id) !== i)
  if (twice !== undefined) throw new InputError(`${name}: function ${twice} is given twice`)
  const metadata = new Map((proto.metadata_props ?? []).map(entry => [entry.key ?? '', without(entry)]))
  for (const [key, entry] of metadata) model.metadata.set(key, entry.value ?? '')
  model.extra = { rest: without(proto, ...MODEL_FIELDS), metadata, opsets } satisfies ModelExtra
  return model
}

const MODEL_FIELDS = [
  ...(['ir_version', 'opset_import', 'producer_name', 'producer_version'] as const),
  ...(['graph', 'functions', 'metadata_props'] as const),
]

function functionId({ domain, name, overload }: FunctionDefinition): string {
  return `${domain}.${name}${overload ? `:${overload}` : ''}`
}

function deserializeFunction(proto: FunctionProto, name: string): FunctionDefinition {
  const label = `${name}: function "${proto.name ?? ''}"`
  if (!proto.name) throw new InputError(`${name}: a function has no name`)
  const body = deserializeBody(proto, label)
  const definition = new FunctionDefinition(
    normalizeDomain(proto.domain),
    proto.name,
    proto.overload ?? '',
    body,
  )
  const opsets = readOpsets(proto.opset_import, label)
  definition.opsetImports = new Map([...opsets].map(([domain, entry]) => [domain, versionOf(entry, label)]))
  const outside = new Scope(label, null)
  for (const attribute of proto.attribute_proto ?? []) {
    definition.defaults.set(
      attribute.name ?? '',
      deserializeAttribute(attribute, label, outside, deserializeGraph),
    )
  }
  const rest: FunctionProto = without(proto, ...FUNCTION_FIELDS)
  if (proto.domain && proto.domain !== definition.domain) rest.domain = proto.domain
  definition.extra = { rest, opsets } satisfies FunctionExtra
  return definition
}

const FUNCTION_FIELDS = [
  ...(['name', 'domain', 'overload', 'input', 'output'] as const),
  ...(['node', 'opset_import', 'value_info', 'attribute_proto'] as const),
]

/** Imports by normalised domain; a domain may be imported again at the same version. */
function readOpsets(
  entries: readonly OperatorSetIdProto[] | null | undefined,
  where: string,
): Map<string, OperatorSetIdProto> {
  const opsets = new Map<string, OperatorSetIdProto>()
  for (const entry of entries ?? []) {
    const domain = normalizeDomain(entry.domain)
    const known = opsets.get(domain)
    if (known && versionOf(known, where) !== versionOf(entry, where)) {
      const [a, b] = [versionOf(known, where), versionOf(entry, where)]
      throw new InputError(
        `${where}: operator set "${domain || 'ai.onnx'}" is imported at versions ${a} and ${b}`,
      )
    }
    opsets.set(domain, without(entry))
  }
  return opsets
}

function versionOf(entry: OperatorSetIdProto, where: string): number {
  return toNumber(entry.version ?? 0, `${where}: version of operator set "${entry.domain ?? ''}"`)
}

/** Operators change meaning between versions; only models whose operators we know may be worked on. */
function checkOpsets(model: Model, name: string): void {
  const bodies = model.functions.map(definition => ({
    where: `${name}: function "${definition.name}"`,
    graph: definition.graph,
    imports: definition.opsetImports,
  }))
  for (const { where, graph, imports } of [
    { where: name, graph: model.graph, imports: model.opsetImports },
    ...bodies,
  ]) {
    const version = imports.get(ONNX_DOMAIN)
    const used = version !== undefined || [...walkNodes(graph)].some(node => node.domain === ONNX_DOMAIN)
    const found = version ?? 1 // what a file that names none relies on
    if (!used || (found >= OPSET_MIN && found <= OPSET_MAX)) continue
    throw new InputError(`${where}: opset ${found} is not supported, expected ${OPSET_MIN} to ${OPSET_MAX}`, {
      cure:
        found < OPSET_MIN
          ? `export the model again, or convert it with onnx.version_converter to opset ${OPSET_MIN} or later`
          : `export the model again with opset ${OPSET_MAX} or earlier`,
    })
  }
}
