/**
 * Writes a model again with other weights: the input file byte for byte, except the elements that were replaced and the
 * metadata that was added. Nothing is decoded and no weight is held in memory.
 */

import { basename } from 'node:path'
import { concatBytes } from '../util/bytes.ts'
import { InputError, invariant } from '../util/errors.ts'
import type { WrittenFile } from '../util/files.ts'
import { formatShape } from '../tensor/shape.ts'
import type { ByteRange, ByteSource } from '../tensor/source.ts'
import type { Tensor } from '../tensor/tensor.ts'
import { ExternalLayout, writeModelFiles, type WriteModelOptions } from './external-layout.ts'
import { layoutOf, type FileLayout, type ModelFile } from './model-file.ts'
import { lateMetadata, type Metadata } from './metadata.ts'
import { decodeEntryKey } from './proto.ts'
import { filled } from './read-tensor.ts'
import type { TensorSite } from './scan.ts'
import { METADATA_FIELD, RAW_DATA_FIELD } from './schema.ts'
import {
  bytesSegment,
  byteLengthOfSegments,
  joinSegments,
  lateSegment,
  rangeSegment,
  type Segment,
} from './segment.ts'
import { checkSize } from './serialize.ts'
import { checkSharedRanges } from './shared-ranges.ts'
import { splice, type Edit } from './splice.ts'
import { typedFieldOf } from './typed-data.ts'
import { varintSegment } from './varint-segment.ts'
import { BYTES, encodeEntry, encodeField, encodeTag, encodeVarint, VARINT } from './wire.ts'

/**
 * `replacements`: new elements, in packed little-endian form, of tensors of `file.model`; dtype and dims stay.
 * `metadata`: entries of metadata_props, in place of those of the same key. Weights in data files go to a new one,
 * `<outPath>.data`, all of them, so that the output needs no file of the input.
 */
export async function writePatched(
  file: ModelFile,
  outPath: string,
  replacements: ReadonlyMap<Tensor, ByteSource>,
  metadata: Metadata,
  options: WriteModelOptions = {},
): Promise<WrittenFile[]> {
  const outside = new ExternalLayout(`${basename(outPath)}.data`)
  const layout = requireLayout(file)
  const place = (range: ByteRange, segment: Segment) =>
    outside.place(`${range.source.name}:${range.offset}:${range.length}`, segment)
  const segments = await patchedSegments(layout, { file, outPath, replacements, metadata, place })
  const inputs = [...layout.places.values()].flatMap(({ external }) => external?.source.name ?? [])
  return writeModelFiles(outPath, segments, outside, new Set(inputs), options)
}

/** As `writePatched`, for a model that is in memory: the bytes of the new file. */
export async function patchModel(
  file: ModelFile,
  replacements: ReadonlyMap<Tensor, ByteSource>,
  metadata: Metadata,
): Promise<Uint8Array> {
  const place = () => {
    throw new InputError(`${file.path}: weights in other files cannot be written to memory`)
  }
  const layout = requireLayout(file)
  return joinSegments(
    await patchedSegments(layout, { file, outPath: file.path, replacements, metadata, place }),
  )
}

function requireLayout(file: ModelFile): FileLayout {
  const layout = layoutOf(file)
  invariant(layout, `${file.path} was not opened by loadModel`)
  return layout
}

interface Patch {
  readonly file: ModelFile
  readonly outPath: string
  readonly replacements: ReadonlyMap<Tensor, ByteSource>
  readonly metadata: Metadata
  /** Places the elements of a tensor that were in a data file; gives the entries that locate them. */
  readonly place: (range: ByteRange, segment: Segment) => Segment
}

/** The new model file. */
async function patchedSegments(
  layout: FileLayout,
  { file, outPath, replacements, metadata, place }: Patch,
): Promise<Segment[]> {
  for (const [tensor, elements] of replacements) checkReplacement(layout, tensor, elements, file.path)
  await checkSharedRanges(layout.places, replacements, file.path)
  const edits: Edit[] = []
  for (const [tensor, { site, external }] of layout.places) {
    const elements = replacements.get(tensor)
    if (external) {
      const segment = rangeSegment(elements ? wholeOf(elements) : external)
      edits.push(...relocate(site, place(external, segment)))
    } else if (elements && elements.byteLength > 0) {
      edits.push(...(await replaceElements(tensor, site, elements)))
    }
  }
  edits.push(...(await replaceMetadata(layout, metadata)))
  const segments = splice(layout.source, edits)
  checkSize(byteLengthOfSegments(segments), outPath)
  return segments
}

function wholeOf(source: ByteSource) {
  return { source, offset: 0, length: source.byteLength }
}

function checkReplacement(layout: FileLayout, tensor: Tensor, elements: ByteSource, path: string): void {
  const type = `${tensor.dtype}${formatShape(tensor.dims)}`
  const place = layout.places.get(tensor)
  invariant(place, `write patched: a tensor ${type} that is not of ${path} is to be replaced`)
  const where = `${path}: ${place.label}: ${type}`
  if (tensor.dtype === 'string') throw new InputError(`${where}: strings cannot be replaced`)
  if (elements.byteLength === tensor.byteLength) return
  const [expected, found] = [tensor.byteLength, elements.byteLength]
  throw new InputError(`${where}: expected ${expected} bytes, its replacement ${elements.name} has ${found}`)
}

/** New elements in the field that held the old ones. */
async function replaceElements(tensor: Tensor, site: TensorSite, elements: ByteSource): Promise<Edit[]> {
  const { frame } = site
  const payloads = filled(site)
  const field = payloads[0]!.field
  const { wireType } = typedFieldOf(tensor.dtype)
  const packed = field === RAW_DATA_FIELD || wireType !== VARINT
  // 1. The very bytes of the tensor, in one field: the file keeps its length.
  if (packed && (field === RAW_DATA_FIELD || (payloads.length === 1 && payloads[0]!.wireType === BYTES))) {
    const { contentStart, end } = payloads.at(-1)! // protobuf: of a field that occurs twice the last counts
    return [{ frame, start: contentStart, end, segments: [rangeSegment(wholeOf(elements))] }]
  }
  // 2. Varints, or elements in several fields: one packed field instead.
  const content = packed ? rangeSegment(wholeOf(elements)) : await varintSegment(elements, tensor.dtype)
  const head = bytesSegment(concatBytes([encodeTag(field, BYTES), encodeVarint(content.byteLength)]))
  return payloads.map(({ start, end }, i) => ({
    frame,
    start,
    end,
    segments: i === 0 ? [head, content] : [],
  }))
}

/** New external_data entries in place of the old. */
function relocate(site: TensorSite, entries: Segment): Edit[] {
  return site.external.map(({ start, end }, i) => ({
    ...{ frame: site.frame, start, end },
    segments: i === 0 ? [entries] : [],
  }))
}

/** Removes entries that are given anew and appends the new ones at the end of the model. */
async function replaceMetadata({ source, scan }: FileLayout, metadata: Metadata): Promise<Edit[]> {
  const edits: Edit[] = []
  const { provisional, settle } = lateMetadata(metadata)
  for (const { start, contentStart, end } of scan.metadata) {
    const key = decodeEntryKey(await source.read(contentStart, end - contentStart))
    if (provisional.has(key)) edits.push({ frame: null, start, end, segments: [] })
  }
  const encode = (entries: ReadonlyMap<string, string>) =>
    concatBytes([...entries].map(([key, value]) => encodeField(METADATA_FIELD, encodeEntry(key, value))))
  const end = source.byteLength
  const { byteLength } = encode(provisional)
  const segment = lateSegment(byteLength, async () => encode(await settle()))
  if (byteLength > 0) edits.push({ frame: null, start: end, end, segments: [segment] })
  return edits
}
