/** What a person says about the places of tensors: `--map NAME=PLACE` and `--ignore PATTERN`. */

import { matchesPattern } from '../passes/index.ts'
import { UsageError } from '../util/errors.ts'
import type { CheckpointTensor } from './checkpoint.ts'
import { formOf, transposeFits, typeText } from './place-forms.ts'

/** A tensor of the checkpoints and its place in the model; `NAME.T` is the transpose of `NAME`. */
export type Mapping = readonly [tensor: string, place: string]

export interface PlaceChoices {
  readonly map?: readonly Mapping[]
  /** Patterns of tensors that are left out: `*` is any text, `?` one character, `{a,b}` a choice. */
  readonly ignore?: readonly string[]
}

export interface ChosenPlace {
  readonly place: string
  readonly transposed: boolean
  /** Whether the transpose was asked for as such. */
  readonly explicit: boolean
}

type Tensors = ReadonlyMap<string, CheckpointTensor>

/** Tensor -> the pattern that leaves it out. */
export function ignoredTensors(
  names: readonly string[],
  { ignore = [] }: PlaceChoices,
  source: string,
): Map<string, string> {
  const ignored = new Map<string, string>()
  for (const pattern of ignore) {
    const matched = names.filter(name => matchesPattern(pattern, name))
    if (matched.length === 0) {
      throw new UsageError(
        `--ignore: "${pattern}" matches none of the ${names.length} tensors of ${source}`,
        {
          cure: '--dry-run lists their names; * stands for any text',
        },
      )
    }
    for (const name of matched) if (!ignored.has(name)) ignored.set(name, pattern)
  }
  return ignored
}

/**
 * Tensor -> the place that was chosen for it; both must be there, and their shapes must fit.
 *
 * @param ignored tensors that are left out, and why
 */
export function chosenPlaces(
  { map = [] }: PlaceChoices,
  checkpoint: { readonly path: string; readonly tensors: Tensors },
  model: { readonly path: string; readonly tensors: Tensors },
  ignored: ReadonlyMap<string, string>,
): Map<string, ChosenPlace> {
  const chosen = new Map<string, ChosenPlace>()
  const owners = new Map<string, string>()
  for (const [given, place] of map) {
    const explicit = !checkpoint.tensors.has(given) && given.endsWith('.T')
    const name = explicit ? given.slice(0, -'.T'.length) : given
    const tensor = required(name, checkpoint, `--map ${given}=${place}`)
    const target = required(place, model, `--map ${given}=${place}`)
    const why = ignored.get(name)
    if (why !== undefined) throw new UsageError(`--map ${given}=${place}: tensor "${name}" is ${why}`)
    const [other, owner] = [chosen.get(name)?.place, owners.get(place)]
    if (other !== undefined)
      throw new UsageError(`--map: tensor "${name}" has two places: "${other}" and "${place}"`)
    if (owner !== undefined)
      throw new UsageError(`--map: place "${place}" has two tensors: "${owner}" and "${name}"`)
    const form = formOf(tensor, target)
    if (explicit ? !transposeFits(tensor, target) : form === null) {
      throw new UsageError(
        `--map ${given}=${place}: expected ${explicit ? 'the transpose of ' : ''}${typeText(target)} as in ${model.path}, found ${typeText(tensor)} in ${checkpoint.path}`,
        { cure: 'types must be equal, and shapes equal or transposed' },
      )
    }
    owners.set(place, name)
    chosen.set(name, { place, transposed: explicit || form === 'transposed', explicit })
  }
  return chosen
}

function required(
  name: string,
  { path, tensors }: { readonly path: string; readonly tensors: Tensors },
  option: string,
): CheckpointTensor {
  const tensor = tensors.get(name)
  if (tensor) return tensor
  const end = name.slice(name.lastIndexOf('.') + 1)
  const alike = [...tensors.keys()].filter(other => other.endsWith(end)).slice(0, 5)
  throw new UsageError(
    `${option}: ${path} has no tensor "${name}"${alike.length > 0 ? `; it has ${alike.map(other => `"${other}"`).join(', ')}` : ''}`,
    { cure: 'write --map NAME=PLACE with a name of the checkpoint and a name of the model' },
  )
}
