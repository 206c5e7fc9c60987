/** Named arrays (the members of an npz, or npy files in a folder): which are inputs, which the targets, of which split. */

import { formatShape } from '../tensor/shape.ts'
import { InputError, UsageError } from '../util/errors.ts'
import { ArrayDataset, type ArrayDatasetOptions, type RowArray } from './array-dataset.ts'
import type { TargetArray } from './array-targets.ts'
import type { NpyArray } from './npy.ts'
import { splitName, type Located, type OpenPart, type Split } from './splits.ts'
import { quoteSome } from './subset.ts'

/** Arrays by name, read when asked for. */
export interface ArrayStore {
  readonly kind: Located['kind']
  readonly path: string
  readonly keys: readonly string[]
  read(key: string): Promise<NpyArray>
}

export interface ArrayChoice extends Omit<ArrayDatasetOptions, 'classNames' | 'notes'> {
  /** Names of the input arrays, in the order of the model's inputs; they become the inputs' names. */
  readonly inputs?: readonly string[]
  /** Name of the array of targets, or several with the outputs that they go with. */
  readonly targets?: string | readonly TargetChoice[]
}

/** An array of targets and the model output that it goes with. */
export interface TargetChoice {
  readonly array: string
  /** By name, or by position. */
  readonly output: string | number
}

const INPUTS = ['x', 'image', 'images', 'data', 'input', 'inputs', 'feature', 'features', 'arr_0']
const TARGETS = ['y', 'label', 'labels', 'target', 'targets', 'arr_1']
const CLASS_NAMES = ['classes', 'class_names', 'label_names', 'target_names']

interface Roles {
  readonly inputs: readonly string[]
  readonly targets: readonly TargetRole[]
}

interface TargetRole {
  readonly array: string
  /** Absent for an only one, which goes with any output. */
  readonly output?: string | number
}

/** The targets that were asked for; null if none were. */
function chosenTargets({ targets }: ArrayChoice): readonly TargetRole[] | null {
  if (targets === undefined) return null
  return typeof targets === 'string' ? [{ array: targets }] : targets
}

/** Recognises inputs and targets; throws with the names found when it cannot. */
export function locateArrays(store: ArrayStore, choice: ArrayChoice): Located {
  const { kind, path } = store
  const wanted = chosenTargets(choice)
  for (const key of [...(choice.inputs ?? []), ...(wanted ?? []).map(({ array }) => array)]) {
    if (!store.keys.includes(key))
      throw new UsageError(`${path}: there is no array '${key}', found ${quoteSome(store.keys)}`)
  }
  const groups = new Map<Split | 'whole', string[]>()
  const names = store.keys.find(key => CLASS_NAMES.includes(key.toLowerCase()))
  for (const key of store.keys) {
    if (key === names) continue
    const split = choice.inputs || wanted ? 'whole' : splitName(key).split
    groups.set(split, [...(groups.get(split) ?? []), key])
  }
  const parts: Partial<Record<Split | 'whole', OpenPart>> = {}
  for (const [split, keys] of groups) {
    const roles = pickRoles(store, keys, choice)
    // Arrays without a split beside others of a test split are the training data.
    const part = split === 'whole' && groups.size > 1 && !groups.has('train') ? 'train' : split
    parts[part] = classNames => openArrays(store, roles, part, names, choice, classNames)
  }
  return { kind, path, parts }
}

function pickRoles(store: ArrayStore, keys: readonly string[], choice: ArrayChoice): Roles {
  const known = (names: readonly string[]) => keys.filter(key => names.includes(splitName(key).rest))
  const asked = chosenTargets(choice)
  const targets = asked ?? known(TARGETS).map(array => ({ array }))
  if (targets.length === 0 || (!asked && targets.length > 1)) {
    throw new InputError(
      `${store.path}: expected one array of targets (${TARGETS.slice(0, 5).join(', ')}), found ${quoteSome(store.keys)}`,
      {
        cure: 'name the array of targets with --targets, or one for each output of the model: --targets a,b',
      },
    )
  }
  const arrays = targets.map(({ array }) => array)
  const rest = keys.filter(key => !arrays.includes(key))
  const usual = known(INPUTS)
  if (!choice.inputs && rest.length > 1 && usual.length > 0 && usual.length < rest.length) {
    throw new InputError(
      `${store.path}: it is not clear which arrays are inputs: ${quoteSome(rest)}; targets are ${quoteSome(arrays)}`,
      { cure: 'name the input arrays with --inputs, in the order of the model inputs' },
    )
  }
  const chosen = choice.inputs ?? rest
  if (chosen.length === 0)
    throw new InputError(
      `${store.path}: expected an array of inputs (${INPUTS.slice(0, 8).join(', ')}), found ${quoteSome(store.keys)}`,
    )
  return { inputs: chosen, targets }
}

async function openArrays(
  store: ArrayStore,
  roles: Roles,
  part: Split | 'whole',
  namesKey: string | undefined,
  choice: ArrayChoice,
  classNames: readonly string[] | undefined,
): Promise<ArrayDataset> {
  const name = part === 'whole' ? store.path : `${store.path} (${part})`
  const inputs: RowArray[] = []
  for (const key of roles.inputs) {
    const array = await readNumbers(store, key)
    // One input without a chosen name feeds the model's first input, whatever that is called.
    const field =
      roles.inputs.length === 1 && !choice.inputs
        ? '0'
        : splitName(key).split === 'whole'
          ? key
          : splitName(key).rest
    inputs.push({ name: field, dims: array.dims, data: array.data })
  }
  const targets: TargetArray[] = []
  for (const { array, output } of roles.targets) {
    const numbers = await readNumbers(store, array)
    targets.push({ name: array, ...numbers, ...(output === undefined ? {} : { output }) })
  }
  const names = classNames ?? (namesKey === undefined ? undefined : await readTexts(store, namesKey))
  return new ArrayDataset(name, inputs, targets.length === 1 ? targets[0]! : targets, {
    ...choice,
    ...(names === undefined ? {} : { classNames: names }),
  })
}

async function readNumbers(store: ArrayStore, key: string) {
  const { dims, data, integer } = await store.read(key)
  if (!ArrayBuffer.isView(data))
    throw new InputError(`${store.path}: array '${key}' ${formatShape(dims)} holds text, expected numbers`)
  if (dims.length === 0)
    throw new InputError(`${store.path}: array '${key}' is a single number, expected rows`)
  return { dims, data, integer }
}

async function readTexts(store: ArrayStore, key: string): Promise<readonly string[]> {
  const { data } = await store.read(key)
  if (ArrayBuffer.isView(data))
    throw new InputError(`${store.path}: array '${key}' holds numbers, expected class names`)
  return data
}
