/** Why tensors have no place in the receiving model, and what can be done about it. */

import { InputError, UnsupportedError } from '../util/errors.ts'
import { formatShape, sameShape, type Shape } from '../tensor/shape.ts'
import type { Checkpoint } from './checkpoint.ts'
import type { Candidate, Comparison, Found } from './content-match.ts'
import { countBatchNorms } from '../passes/index.ts'
import { mergedInto } from './graph-roles.ts'
import { formOf, likeDims, typeText } from './place-forms.ts'
import type { PlannedTensor } from './plan.ts'

/** The names in a message. */
const SHOWN = 5

/** How PyTorch writes weights as they are. */
const UNFOLDED = 'export the model with do_constant_folding=False, with dynamo=True optimize=False'

type Template = Checkpoint & { readonly model: NonNullable<Checkpoint['model']> }

interface Reason {
  readonly text: string
  readonly cure: string
}

/** The place that the name of a tensor leads to has another type or shape. */
export function refuseType(
  tensor: PlannedTensor,
  place: string,
  template: Checkpoint,
  source: string,
): never {
  const target = template.tensors.get(place)!
  const other = place === tensor.name ? '' : ` ("${place}" there)`
  throw new InputError(
    `average: tensor "${tensor.name}"${other}: expected ${typeText(target)} as in ${template.path}, found ${typeText(tensor)} in ${source}`,
    target.dtype === tensor.dtype
      ? { cure: 'export the model from the code that the checkpoint comes from' }
      : { cure: dtypeCure(tensor, target) },
  )
}

/** A square matrix was given a place as it is, but the values there are those of its transpose. */
export function refuseOrientation({ tensor, place }: Found, path: string): never {
  throw new InputError(
    `--map ${tensor}=${place}: the values of "${place}" in ${path} are near to the transpose of "${tensor}", not to it`,
    { cure: `write --map ${tensor}.T=${place}` },
  )
}

/** Batch norms that the exporter multiplied into the layers before them leave no place for what the checkpoint has. */
export function refuseFolded(
  left: readonly PlannedTensor[],
  all: readonly PlannedTensor[],
  template: Template,
  source: string,
): void {
  const first = left.find(({ name }) => isStatistic(name))
  if (!first) return
  const expected = all.filter(
    ({ name, policy }) => policy !== 'drop' && /(^|\.)running_mean$/.test(name),
  ).length
  const found = countBatchNorms(template.model.model)
  if (found >= expected) return
  throw new UnsupportedError(
    `average: ${template.path} was exported with its batch norms folded into other layers and has no place for "${first.name}" of ${source}: expected ${expected} batch norms, found ${found}`,
    {
      cure: 'export it with its batch norms: torch.onnx.export with training=TrainingMode.PRESERVE or do_constant_folding=False, with dynamo=True optimize=False; leave batch norms that the model does not use out with --ignore',
    },
  )
}

function isStatistic(name: string): boolean {
  return /(^|\.)running_(mean|var)$/.test(name)
}

/** Names the first tensor without a place, with its candidates, and how many more there are. */
export function refuseUnplaced(
  left: readonly PlannedTensor[],
  free: readonly string[],
  comparisons: readonly Comparison[],
  template: Template,
  source: string,
): never {
  const [tensor, ...others] = left
  const candidates = comparisons.flatMap(comparison => comparison.candidatesOf(tensor!.name))
  const open = candidates.filter(({ place }) => free.includes(place))
  const { text, cure } = open.length > 0 ? ambiguous(open) : withoutCandidate(tensor!, free, template)
  const more = others.slice(0, SHOWN).map(({ name }) => `"${name}"`)
  const rest = others.length > SHOWN ? ` and ${others.length - SHOWN} more` : ''
  throw new InputError(
    `average: tensor "${tensor!.name}" ${typeText(tensor!)} of ${source} has no place of that name in ${template.path}; ${text}${more.length > 0 ? `; nor have ${more.join(', ')}${rest}` : ''}`,
    { cure },
  )
}

function ambiguous(candidates: readonly Candidate[]): Reason {
  const list = candidates.slice(0, SHOWN).map(({ place, transposed, distance }) => {
    const apart = distance === Infinity ? 'not comparable' : `${distance.toPrecision(2)} apart`
    return `"${place}" (${transposed ? 'transposed, ' : ''}${apart})`
  })
  const more = candidates.length > SHOWN ? ', ...' : ''
  const { tensor, place } = candidates[0]!
  const both = candidates.some(
    other => other.place === place && other.transposed !== candidates[0]!.transposed,
  )
  return {
    text: `its shape fits ${list.join(', ')}${more}, and the values do not tell which one it is`,
    cure: `say it: --map ${tensor}=PLACE${both ? `, or --map ${tensor}.T=PLACE for its transpose` : ''}`,
  }
}

/** Reasons why no place fits a tensor, the most telling one first. */
const REASONS: readonly ((
  tensor: PlannedTensor,
  free: readonly string[],
  template: Template,
) => Reason | null)[] = [
  ({ name }, _free, { model }) => {
    const kept = mergedInto(model.model, name)
    if (kept === null) return null
    return {
      text: `it is there the same as "${kept}", to which it was equal when the model was exported`,
      cure: 'export the model from one of the checkpoints, in which they differ',
    }
  },
  (tensor, free, template) => {
    const places = free.filter(other => formOf(tensor, template.tensors.get(other)!) !== null)
    if (places.length === 0) return null
    const list = places.slice(0, SHOWN).map(place => `"${place}"`)
    return {
      text: `of its type and shape there ${places.length === 1 ? 'is' : 'are'} ${list.join(', ')}${places.length > SHOWN ? ', ...' : ''}`,
      cure: `if that is its place, say it: --map ${tensor.name}=PLACE`,
    }
  },
  (tensor, free, template) => {
    const place = free.find(other => {
      const target = template.tensors.get(other)!
      const { dims } = target
      return (
        target.dtype !== tensor.dtype &&
        target.fixed === null &&
        dims.length > 0 &&
        sameShape(likeDims(dims), likeDims(tensor.dims))
      )
    })
    if (place === undefined) return null
    const target = template.tensors.get(place)!
    return { text: `of its shape there is ${typeText(target)} "${place}"`, cure: dtypeCure(tensor, target) }
  },
  (tensor, free, template) => {
    const place = free.find(other => isJoined(template.tensors.get(other)!.dims, tensor.dims))
    if (place === undefined) return null
    const { dims } = template.tensors.get(place)!
    return {
      text: `"${place}" ${formatShape(dims)} may hold it joined with others (such as query, key and value), which is not taken apart`,
      cure: 'export the model from the code that the checkpoint comes from, without joining weights',
    }
  },
  (tensor, free, template) => {
    const place = free.find(other => isJoined(tensor.dims, template.tensors.get(other)!.dims))
    if (place === undefined) return null
    const { dims } = template.tensors.get(place)!
    return {
      text: `"${place}" ${formatShape(dims)} may be a part of it (such as query, key or value), which is not taken apart`,
      cure: 'export the model from the code that the checkpoint comes from, without splitting weights',
    }
  },
]

function withoutCandidate(tensor: PlannedTensor, free: readonly string[], template: Template): Reason {
  for (const reason of REASONS) {
    const found = reason(tensor, free, template)
    if (found) return found
  }
  return {
    text: 'of its type and shape there is none',
    cure: `${UNFOLDED}, so that the tensor stays as it is, or leave it out with --ignore "${tensor.name}" if the model does not use it`,
  }
}

/** Whether two or three tensors like the second one, laid side by side, have the shape of the first one. */
function isJoined(whole: Shape, part: Shape): boolean {
  if (whole.length === 0 || part.length !== whole.length) return false
  const forms = part.length === 2 ? [part, [part[1]!, part[0]!]] : [part]
  return forms.some(form => {
    const axis = form.findIndex((size, i) => size !== whole[i])
    if (axis < 0) return false
    const others = form.every((size, i) => i === axis || size === whole[i])
    return others && form[axis]! > 1 && [2, 3].includes(whole[axis]! / form[axis]!)
  })
}

function dtypeCure({ dtype }: Pick<PlannedTensor, 'dtype'>, target: Pick<PlannedTensor, 'dtype'>): string {
  return `element types must be equal: export the model with ${dtype} weights, or convert the checkpoints to ${target.dtype}`
}
