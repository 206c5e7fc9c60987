/** Further places of tensors that have one: an exporter may write a weight twice. */

import type { Checkpoint } from './checkpoint.ts'
import { Comparison, FEW_ELEMENTS, only } from './content-match.ts'
import { likeness } from './place-forms.ts'
import type { PlannedTensor } from './plan.ts'

export interface Copy extends PlannedTensor {
  readonly place: string
}

/**
 * The free places that hold, in the model itself, the elements of a matrix that has its place: with constants folded, a
 * table of words that is tied to the last layer is written once as it is and once transposed. Only matrices and more: the
 * vectors of a net that was not trained yet are equal by chance.
 */
export async function findCopies(
  placed: readonly PlannedTensor[],
  free: ReadonlySet<string>,
  model: Checkpoint,
): Promise<Copy[]> {
  const owners = new Map<string, PlannedTensor>()
  const alike = new Map<string, string[]>()
  for (const tensor of placed) {
    if (!tensor.placed || tensor.dims.length < 2) continue
    const place = tensor.place ?? tensor.name
    owners.set(place, tensor)
    const key = likeness(tensor)
    const others = alike.get(key)
    if (others) others.push(place)
    else alike.set(key, [place])
  }
  const copies: Copy[] = []
  for (const place of free) {
    const target = model.tensors.get(place)!
    const others = alike.get(likeness(target))
    if (target.fixed !== null || !others) continue
    const group = { tensors: others, places: [place], dims: target.dims }
    const [found] = (await Comparison.of(group, model, only(model), FEW_ELEMENTS)).found()
    if (found?.distance !== 0) continue
    const { transposed = false, ...owner } = owners.get(found.tensor)!
    const turned = transposed !== found.transposed
    const note = `the same elements as "${found.tensor}" there`
    copies.push({
      ...owner,
      place,
      ...(turned ? { transposed: turned } : {}),
      placed: { by: 'content', note },
    })
  }
  return copies
}
