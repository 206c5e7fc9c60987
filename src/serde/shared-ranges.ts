/** Tensors of a model that lie on the same bytes of a data file: they are one weight and must stay one. */

import { equalBytes } from '../util/bytes.ts'
import { InputError } from '../util/errors.ts'
import type { ByteRange, ByteSource } from '../tensor/source.ts'
import type { Tensor } from '../tensor/tensor.ts'
import type { TensorPlace } from './read-tensors.ts'
import { readChunks } from './segment.ts'

interface SharedRange {
  readonly label: string
  readonly range: ByteRange
  readonly elements: ByteSource | undefined
}

/** Fails when tensors that share bytes are not replaced alike. */
export async function checkSharedRanges(
  places: ReadonlyMap<Tensor, TensorPlace>,
  replacements: ReadonlyMap<Tensor, ByteSource>,
  path: string,
): Promise<void> {
  const ranges: SharedRange[] = []
  for (const [tensor, { label, external }] of places) {
    if (!external || external.length === 0) continue
    ranges.push({ label, range: external, elements: replacements.get(tensor) })
  }
  const order = ({ source, offset, length }: ByteRange) => [source.name, offset, length] as const
  ranges.sort((a, b) => compare(order(a.range), order(b.range)))
  // Sorted by start, overlapping ranges are neighbours of the one that reaches furthest so far.
  let last = ranges[0]
  for (const next of ranges.slice(1)) {
    const overlap =
      next.range.source === last!.range.source && next.range.offset < last!.range.offset + last!.range.length
    if (overlap && (last!.elements || next.elements)) await checkAlike(last!, next, path)
    if (!overlap || endOf(next.range) > endOf(last!.range)) last = next
  }
}

type Part = readonly [string, number, number]

function compare(a: Part, b: Part): number {
  if (a[0] !== b[0]) return a[0] < b[0] ? -1 : 1
  return a[1] - b[1] || a[2] - b[2]
}

function endOf({ offset, length }: ByteRange): number {
  return offset + length
}

async function checkAlike(a: SharedRange, b: SharedRange, path: string): Promise<void> {
  const { source, offset, length } = b.range
  const same = a.range.offset === offset && a.range.length === length
  if (same && a.elements && b.elements && (await equalSources(a.elements, b.elements))) return
  const bytes = `bytes ${offset} to ${offset + length} of ${source.name}`
  throw new InputError(`${path}: ${a.label} and ${b.label} share ${bytes}, and are to become different`, {
    cure: 'give both the same new weights, or store the model with its weights inside first',
  })
}

async function equalSources(a: ByteSource, b: ByteSource): Promise<boolean> {
  if (a === b) return true
  const others = readChunks({ source: b, offset: 0, length: b.byteLength })
  for await (const chunk of readChunks({ source: a, offset: 0, length: a.byteLength })) {
    const other = await others.next()
    if (other.done || !equalBytes(chunk, other.value)) return false
  }
  return true
}
