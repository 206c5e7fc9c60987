/**
 * Matrices that a file holds twice. An exporter that folds constants writes a tied weight once as it is and once
 * transposed; training sees two weights, which start equal and part.
 */

import { DTYPES } from '../tensor/dtype.ts'
import { Tensor } from '../tensor/tensor.ts'

export interface EqualCopies {
  /** Names of two weights. */
  readonly names: readonly [string, string]
  /** Whether the second is the transpose of the first. */
  readonly transposed: boolean
}

export interface NamedWeight {
  readonly name: string
  readonly tensor: Tensor
}

/** Smaller ones may be equal by chance, or because nothing has changed them yet. */
const LEAST_SIZE = 64

/** Elements that are compared before all are. */
const GLANCE = 8

/** Pairs of equal matrices, each weight with the first one that it equals; weights of one tensor are no copies. */
export async function findEqualCopies(weights: readonly NamedWeight[]): Promise<EqualCopies[]> {
  const matrices = weights.filter(({ tensor: { dims, size, dtype } }) => {
    return dims.length === 2 && Math.min(...dims) > 1 && size >= LEAST_SIZE && DTYPES[dtype].bits >= 16
  })
  const seen = new Map<string, NamedWeight[]>()
  const found: EqualCopies[] = []
  for (const weight of matrices) {
    const { tensor } = weight
    const [row, column] = [await keyOf(tensor, 1), await keyOf(tensor, 0)]
    if (row === null) continue
    const asIs = await findEqual(seen.get(row) ?? [], tensor, false)
    const turned =
      asIs === null && column !== null ? await findEqual(seen.get(column) ?? [], tensor, true) : null
    const first = asIs ?? turned
    if (first) found.push({ names: [first.name, weight.name], transposed: turned !== null })
    else seen.set(row, [...(seen.get(row) ?? []), weight])
  }
  return found
}

/** What a person is told of copies; nothing where there are none. */
export function copyNotes(copies: readonly EqualCopies[]): string[] {
  if (copies.length === 0) return []
  const pairs = copies.map(
    ({ names: [a, b], transposed }) => `"${a}" and "${b}"${transposed ? ' (transposed)' : ''}`,
  )
  const shown = pairs.slice(0, 3).join(', ') + (pairs.length > 3 ? ` and ${pairs.length - 3} more` : '')
  return [
    `equal copies: ${shown}; each is trained on its own. If they were one tied weight, export the model without constant folding to train them as one`,
  ]
}

async function findEqual(
  candidates: readonly NamedWeight[],
  tensor: Tensor,
  transposed: boolean,
): Promise<NamedWeight | null> {
  for (const candidate of candidates) {
    if (candidate.tensor === tensor) continue
    const [a, b] = [(await candidate.tensor.load()).toNumbers(), (await tensor.load()).toNumbers()]
    const [rows, columns] = candidate.tensor.dims as [number, number]
    const at = transposed
      ? (i: number) => b[(i % columns) * rows + Math.floor(i / columns)]
      : (i: number) => b[i]
    if (a.every((value, i) => value === at(i))) return candidate
  }
  return null
}

/** Type, dims and first elements along an axis, in the order of the transpose for axis 0; null if they are all one number. */
async function keyOf({ dtype, dims, data }: Tensor, axis: 0 | 1): Promise<string | null> {
  const stride = axis === 1 ? 1 : dims[1]!
  const bytes = DTYPES[dtype].bits / 8
  const numbers: number[] = []
  for (let i = 0; i < Math.min(GLANCE, dims[axis]!); i++) {
    const start = i * stride * bytes
    const element =
      'source' in data
        ? await data.source.read(data.offset + start, bytes)
        : (data as Uint8Array).subarray(start, start + bytes)
    numbers.push(new Tensor(dtype, [], element).toNumbers()[0]!)
  }
  const shape = axis === 1 ? dims : dims.toReversed()
  return new Set(numbers).size > 1 ? `${dtype} ${shape.join('x')} ${numbers.join(' ')}` : null
}
