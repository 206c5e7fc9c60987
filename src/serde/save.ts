/** A model to disk, atomically, with its weights inside or in a data file beside it. */

import { basename } from 'node:path'
import type { Tensor } from '../tensor/tensor.ts'
import type { Model } from '../ir/graph.ts'
import { ExternalLayout, writeModelFiles } from './external-layout.ts'
import { bytesSegment, elementsOf, type Segment } from './segment.ts'
import { inlineFields, serializeSegments, type PlacedTensor } from './serialize.ts'
import { encodeTag, encodeVarint, VARINT } from './wire.ts'
import { DATA_LOCATION_FIELD } from './schema.ts'

export interface SaveOptions {
  /**
   * `keep` (default): weights that were outside their file go to `<path>.data`, all others inside. `inline`: all inside.
   * Or: weights of at least `threshold` bytes (default 1024) go to the file named `location` beside the model.
   */
  externalData?: 'keep' | 'inline' | { location: string; threshold?: number }
}

export async function saveModel(model: Model, path: string, options: SaveOptions = {}): Promise<void> {
  const { externalData = 'keep' } = options
  const layout = new ExternalLayout(
    typeof externalData === 'string' ? `${basename(path)}.data` : externalData.location,
  )
  const isOutside = ({ tensor, external }: PlacedTensor): boolean => {
    if (externalData === 'inline' || tensor.dtype === 'string') return false
    if (externalData === 'keep') return external
    return tensor.byteLength >= (externalData.threshold ?? 1024)
  }
  const inputs = new Set<string>()
  const segments = await serializeSegments(
    model,
    placed => {
      const { data } = placed.tensor
      if ('source' in data) inputs.add(data.source.name)
      return isOutside(placed) ? outsideFields(placed.tensor, layout) : inlineFields(placed.tensor)
    },
    path,
  )
  await writeModelFiles(path, segments, layout, inputs)
}

const OUTSIDE = bytesSegment(Buffer.concat([encodeTag(DATA_LOCATION_FIELD, VARINT), encodeVarint(1)]))

function outsideFields(tensor: Tensor, layout: ExternalLayout): Segment[] {
  return [layout.place(tensor, elementsOf(tensor)), OUTSIDE]
}
