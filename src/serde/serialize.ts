/** Model -> bytes. The message is encoded without weights, then their elements are spliced in, so that they stream. */

import { concatBytes } from '../util/bytes.ts'
import { InputError, invariant } from '../util/errors.ts'
import { formatBytes } from '../util/format.ts'
import { MemorySource } from '../tensor/source.ts'
import type { Tensor } from '../tensor/tensor.ts'
import type { Model } from '../ir/graph.ts'
import { modelExtra } from './extras.ts'
import { MESSAGE_LIMIT } from './limits.ts'
import { encodeModel, type ModelProto } from './proto.ts'
import { scanModel } from './scan.ts'
import { RAW_DATA_FIELD } from './schema.ts'
import { bytesSegment, byteLengthOfSegments, elementsOf, joinSegments, type Segment } from './segment.ts'
import { remark, serializeFunction, serializeGraph, type TensorSink } from './serialize-graph.ts'
import { splice } from './splice.ts'
import { inTraining } from './tensor-protos.ts'
import { BYTES, encodeTag, encodeVarint } from './wire.ts'

/** A tensor on its way into a file, and whether it was outside the file that it came from. */
export interface PlacedTensor {
  readonly tensor: Tensor
  readonly external: boolean
}

/** The fields of TensorProto that hold or locate a tensor's elements. */
export type TensorPlacer = (placed: PlacedTensor) => readonly Segment[]

/** A model with all its weights inside, in memory. */
export async function serializeModel(model: Model): Promise<Uint8Array> {
  return joinSegments(await serializeSegments(model, placed => inlineFields(placed.tensor), 'model'))
}

/** A model as segments; `place` decides where the elements of each tensor go. */
export async function serializeSegments(model: Model, place: TensorPlacer, name: string): Promise<Segment[]> {
  const placed: PlacedTensor[] = []
  const proto = serializeProto(model, (tensor, external) => placed.push({ tensor, external }) - 1)
  const outline = new MemorySource(encodeModel(proto), name)
  const { tensors } = await scanModel(outline, 'collect')
  const seen = new Set(tensors.map(site => site.marker?.index))
  invariant(seen.size === placed.length && tensors.length === placed.length, 'a tensor lost its elements')
  const edits = tensors.map(({ frame, marker }) => {
    const { start, end, index } = marker!
    return { start, end, frame, segments: place(placed[index]!) }
  })
  const segments = splice(outline, edits)
  checkSize(byteLengthOfSegments(segments), name)
  return segments
}

/** Elements as raw_data; strings are in the outline already. */
export function inlineFields(tensor: Tensor): Segment[] {
  if (tensor.byteLength === 0) return []
  const head = [encodeTag(RAW_DATA_FIELD, BYTES), encodeVarint(tensor.byteLength)]
  return [bytesSegment(concatBytes(head)), elementsOf(tensor)]
}

/** Protobuf readers refuse messages of 2 GiB. */
export function checkSize(byteLength: number, name: string): void {
  if (byteLength <= MESSAGE_LIMIT) return
  throw new InputError(
    `${name}: the model takes ${formatBytes(byteLength)}, a file of this format holds less than 2 GiB`,
    { cure: 'store its weights as external data' },
  )
}

function serializeProto(model: Model, sink: TensorSink): ModelProto {
  const extra = modelExtra(model)
  for (const training of extra?.rest.training_info ?? []) remark(inTraining(training), sink)
  return {
    ...extra?.rest,
    ir_version: model.irVersion,
    opset_import: [...model.opsetImports].map(([domain, version]) => ({
      ...(extra?.opsets.get(domain) ?? { domain }),
      version,
    })),
    ...(model.producerName ? { producer_name: model.producerName } : {}),
    ...(model.producerVersion ? { producer_version: model.producerVersion } : {}),
    graph: serializeGraph(model.graph, null, sink),
    functions: model.functions.map(definition => serializeFunction(definition, sink)),
    metadata_props: [...model.metadata].map(([key, value]) => ({ ...extra?.metadata.get(key), key, value })),
  }
}
