/** What a method does to a tensor, from what is measured of it. */

import { sizeOf } from '../tensor/shape.ts'
import type { Method } from './methods.ts'
import { rangesInOrder } from './ranges.ts'
import { seedOf, type Measure, type Rule } from './range-combine.ts'
import type { SummedTensor } from './summand.ts'
import type { Summer } from './summer.ts'

export type CombineMethod = Method & { readonly kind: 'slerp' | 'ties' | 'dare' }

/** Above this cosine the arc is a line, to the precision of its formula. */
const PARALLEL = 0.9995

/** Reads the tensor of all members as often as the method needs. */
export function ruleOf(
  method: CombineMethod,
  tensor: SummedTensor,
  number: number,
  summer: Summer,
): Promise<Rule> {
  switch (method.kind) {
    case 'slerp':
      return slerpRule(method.at, tensor, summer)
    case 'ties':
      return tiesRule(method, tensor, summer)
    case 'dare':
      return Promise.resolve(dareRule(method, tensor.summands.length - 1, number))
  }
}

async function measureAll(tensor: SummedTensor, summer: Summer, measure: Measure): Promise<Float64Array[]> {
  const run = (start: number, count: number) => summer.measure(tensor, start, count, measure)
  const size = summer.rangeOf(tensor, true)
  let sums: Float64Array[] | null = null
  // In the order of the ranges: the same sums whatever the number of threads.
  for await (const found of rangesInOrder(0, sizeOf(tensor.dims), size, summer.ahead, run)) {
    if (!sums) sums = [...found]
    else found.forEach((list, k) => list.forEach((value, i) => (sums![k]![i]! += value)))
  }
  return sums ?? []
}

/** (sin((1 - t) ω) θ₀ + sin(t ω) θ₁) / sin ω, ω the angle between both; a line where they are parallel or zero. */
async function slerpRule(at: number, tensor: SummedTensor, summer: Summer): Promise<Rule> {
  const [[ab, aa, bb] = [0, 0, 0]] = (await measureAll(tensor, summer, { kind: 'angle' })).map(list =>
    Array.from(list),
  )
  const cosine = ab! / Math.sqrt(aa! * bb!)
  if (!(Math.abs(cosine) <= PARALLEL)) return { kind: 'linear', coefficients: [1 - at, at] }
  const angle = Math.acos(cosine)
  const coefficients = [Math.sin((1 - at) * angle), Math.sin(at * angle)].map(x => x / Math.sin(angle))
  return { kind: 'linear', coefficients }
}

async function tiesRule(
  { density, scale = 1 }: Method & { readonly kind: 'ties' },
  tensor: SummedTensor,
  summer: Summer,
): Promise<Rule> {
  const members = tensor.summands.length - 1
  const kept = Math.ceil(density * sizeOf(tensor.dims))
  if (kept >= sizeOf(tensor.dims)) return { kind: 'ties', least: Array<number>(members).fill(0), scale }
  // The size that so many differences reach: first its upper bits, then the others.
  const counts = await measureAll(tensor, summer, { kind: 'sizes', within: null })
  const upper = counts.map(count => find(count, kept))
  const within = upper.map(({ bin }) => bin)
  const finer = await measureAll(tensor, summer, { kind: 'sizes', within })
  const least = upper.map(({ bin, above }, k) => bin * 2 ** 15 + find(finer[k]!, kept - above).bin)
  return { kind: 'ties', least, scale }
}

/** The bin in which the `wanted` largest end, and how many are above it. */
function find(counts: Float64Array, wanted: number): { readonly bin: number; readonly above: number } {
  let above = 0
  let bin = counts.length - 1
  while (bin > 0 && above + counts[bin]! < wanted) above += counts[bin--]!
  return { bin, above }
}

function dareRule(
  { drop, scale, seed = 0 }: Method & { readonly kind: 'dare' },
  members: number,
  number: number,
): Rule {
  const seeds = Array.from({ length: members }, (_, k) => seedOf(seed, k, number))
  return { kind: 'dare', drop, scale: scale ?? 1 / members, seeds }
}
