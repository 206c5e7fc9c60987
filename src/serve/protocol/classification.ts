/** Triton's classification extension: the largest elements of an output as `value:index[:label]`, largest first. */

import { bfloat16ToNumber, float16ToNumber } from '../../tensor/dtype.ts'
import { Tensor } from '../../tensor/tensor.ts'
import { invalid, quoted } from './errors.ts'

/** Each is a text of its own, and all are made while nobody else is answered. */
const MOST_CLASSES = 100_000

/**
 * @param batched whether the first dimension counts samples: classes are then chosen for each, shape [samples, k]
 * @param labels names of the classes, in order; null where the model has none
 */
export function classify(
  tensor: Tensor,
  k: number,
  batched: boolean,
  labels: readonly string[] | null,
  name: string,
): Tensor {
  if (tensor.dtype === 'string' || tensor.dtype === 'bool') {
    throw invalid(`output ${quoted(name)} is ${tensor.dtype} data, of which there are no classes`)
  }
  const samples = batched ? (tensor.dims[0] ?? 1) : 1
  const classes = samples === 0 ? 0 : tensor.size / samples
  const count = Math.min(k, classes)
  if (samples * count > MOST_CLASSES) {
    throw invalid(
      `output ${quoted(name)}: expected at most ${MOST_CLASSES} classes in an answer, found ${samples} times ${count}`,
    )
  }
  const values = numbersOf(tensor)
  const encoder = new TextEncoder()
  const strings: Uint8Array[] = []
  for (let sample = 0; sample < samples; sample++) {
    const row = values.subarray(sample * classes, (sample + 1) * classes)
    for (const index of largest(row, count)) {
      const label = labels?.[index]
      const text = `${row[index]!.toFixed(6)}:${index}${label === undefined ? '' : `:${label}`}`
      strings.push(encoder.encode(text))
    }
  }
  return new Tensor('string', batched ? [samples, count] : [count], strings)
}

/** Positions of the `count` largest values, the first of equal ones first; NaN comes last. */
export function largest(row: Float64Array, count: number): number[] {
  const rank = (i: number) => (Number.isNaN(row[i]!) ? -Infinity : row[i]!)
  const order = (a: number, b: number) => rank(b) - rank(a) || a - b
  if (count === 0) return []
  // A heap with the worst of the best on top: rows that rise all the way cost no more than n log(count).
  const best = Array.from({ length: Math.min(count, row.length) }, (_, i) => i)
  for (let at = (best.length >> 1) - 1; at >= 0; at--) sink(best, at, order)
  for (let i = best.length; i < row.length; i++) {
    if (order(i, best[0]!) >= 0) continue
    best[0] = i
    sink(best, 0, order)
  }
  return best.sort(order)
}

/** Lets an element of a heap, on whose top is the last in order, down to its place. */
function sink(heap: number[], start: number, order: (a: number, b: number) => number): void {
  const moved = heap[start]!
  let at = start
  for (;;) {
    let child = 2 * at + 1
    if (child >= heap.length) break
    if (child + 1 < heap.length && order(heap[child + 1]!, heap[child]!) > 0) child++
    if (order(heap[child]!, moved) <= 0) break
    heap[at] = heap[child]!
    at = child
  }
  heap[at] = moved
}

/** Elements as doubles; 64-bit integers are rounded. */
export function numbersOf(tensor: Tensor): Float64Array {
  const array = tensor.view()
  const decode = { float16: float16ToNumber, bfloat16: bfloat16ToNumber }[tensor.dtype as string]
  return Float64Array.from(array as ArrayLike<number>, value =>
    decode ? decode(value) : Number(value as number | bigint),
  )
}
