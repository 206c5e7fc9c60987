/**
 * Finds the place of every tensor in the receiving model: by name, a common prefix removed or added; by the person's word;
 * by content (content-match.ts); by shape, where one tensor and one place are left with it. What several places fit is
 * refused, not guessed.
 */

import { DTYPES } from '../tensor/dtype.ts'
import { sizeOf, type Shape } from '../tensor/shape.ts'
import { openCheckpoint, type Checkpoint } from './checkpoint.ts'
import { Comparison, FEW_ELEMENTS, isSquare, only, type Found } from './content-match.ts'
import { isCounter } from './graph-description.ts'
import { learnedPlaces, rightFactors } from './graph-roles.ts'
import { chosenPlaces, type PlaceChoices } from './place-choices.ts'
import { findCopies } from './place-copies.ts'
import { formOf, likeDims, likeness, typeText } from './place-forms.ts'
import { refuseFolded, refuseOrientation, refuseType, refuseUnplaced } from './place-refusals.ts'
import type { PlannedTensor } from './plan.ts'
import { findRenaming, rename } from './renaming.ts'
import { isAveraged } from './rounding.ts'

/** How a tensor came to its place. */
export interface Placed {
  readonly by: 'name' | 'prefix' | 'map' | 'content' | 'shape'
  /** More about it, for people. */
  readonly note?: string
}

export interface PlacingContext {
  readonly template: Checkpoint & { readonly model: NonNullable<Checkpoint['model']> }
  /** The first of the checkpoints, open. */
  readonly first: Checkpoint
  /** All of them. */
  readonly paths: readonly string[]
  /** What is equal for tensors that have the same elements in every checkpoint; null where that is not known. */
  readonly tieOf: (name: string) => string | null
  readonly choices: PlaceChoices
}

export interface Placing {
  readonly tensors: readonly PlannedTensor[]
  /** What a person should know about the places. */
  readonly warnings: readonly string[]
}

/** So many checkpoints are compared with the values of the model, evenly chosen. */
const COMPARED = 8
/** Names in a warning. */
const SHOWN = 5

export async function placeTensors(
  tensors: readonly PlannedTensor[],
  context: PlacingContext,
): Promise<Placing> {
  const placer = new Placer(tensors, context)
  try {
    return await placer.place()
  } finally {
    await placer.close()
  }
}

class Placer {
  readonly #tensors: readonly PlannedTensor[]
  readonly #context: PlacingContext
  /** Results by tensor. */
  readonly #placed = new Map<string, PlannedTensor>()
  /** Places without a tensor. */
  readonly #free: Set<string>
  /** Checkpoints that were opened to be compared. */
  readonly #open: Checkpoint[] = []
  readonly #comparisons: Comparison[] = []

  constructor(tensors: readonly PlannedTensor[], context: PlacingContext) {
    this.#tensors = tensors
    this.#context = context
    this.#free = new Set(context.template.tensors.keys())
    for (const tensor of tensors) if (tensor.policy === 'drop') this.#placed.set(tensor.name, tensor)
  }

  async close(): Promise<void> {
    for (const checkpoint of this.#open) await checkpoint.close()
  }

  async place(): Promise<Placing> {
    const { template, first } = this.#context
    await this.#byChoice()
    await this.#byName()
    if (this.#left().length > 0) {
      refuseFolded(this.#left(), this.#tensors, template, first.path)
      await this.#byContent()
      this.#byTies()
      const left = this.#left()
      if (left.length > 0) refuseUnplaced(left, [...this.#free], this.#comparisons, template, first.path)
    }
    const copies = await findCopies([...this.#placed.values()], this.#free, template)
    for (const { place } of copies) this.#free.delete(place)
    const kept = [...this.#free].map((name): PlannedTensor => {
      const { dtype, dims, fixed } = template.tensors.get(name)!
      return { name, dtype, dims, policy: 'keep', reason: fixed ?? 'not among the averaged tensors' }
    })
    return {
      tensors: [...this.#tensors.map(({ name }) => this.#placed.get(name)!), ...copies, ...kept],
      warnings: [...this.#shapeWarning(), ...(await this.#keepWarning(kept))],
    }
  }

  /** Tensors that have no place yet. */
  #left(): PlannedTensor[] {
    return this.#tensors.filter(({ name }) => !this.#placed.has(name))
  }

  #put(tensor: PlannedTensor, place: string, transposed: boolean, placed: Placed): void {
    this.#free.delete(place)
    this.#placed.set(tensor.name, {
      ...tensor,
      ...(place === tensor.name ? {} : { place }),
      ...(transposed ? { transposed } : {}),
      placed,
    })
  }

  #drop(tensor: PlannedTensor, reason: string): void {
    this.#placed.set(tensor.name, { ...tensor, policy: 'drop', reason })
  }

  async #byChoice(): Promise<void> {
    const { choices, first, template } = this.#context
    const ignored = new Map([...this.#placed].map(([name, { reason }]) => [name, reason]))
    for (const [name, { place, transposed, explicit }] of chosenPlaces(choices, first, template, ignored)) {
      const tensor = this.#tensors.find(other => other.name === name)!
      if (isSquare(tensor.dims) && !explicit) {
        const found = await this.#orientation(tensor, place)
        if (found?.transposed) refuseOrientation(found, template.path)
      }
      this.#put(tensor, place, transposed, { by: 'map' })
    }
  }

  async #byName(): Promise<void> {
    const { first, template } = this.#context
    const left = this.#left()
    const types = new Map(left.map(tensor => [tensor.name, tensor]))
    const weights = left.map(({ name }) => name).filter(name => !isCounter(name))
    const fits = (name: string, place: string) =>
      formOf(types.get(name)!, template.tensors.get(place)!) !== null
    const renaming = findRenaming(weights, [...this.#free], fits, first.path, template.path)
    const right = left.some(({ dims }) => isSquare(dims)) ? rightFactors(template.model.model) : null
    for (const tensor of left) {
      const place = rename(tensor.name, renaming)
      if (!this.#free.has(place)) {
        if (isCounter(tensor.name)) this.#drop(tensor, 'counter, which the model does not have')
        continue
      }
      const form = formOf(tensor, template.tensors.get(place)!)
      if (form === null) refuseType(tensor, place, template, first.path)
      const placed: Placed =
        place === tensor.name ? { by: 'name' } : { by: 'prefix', note: describeRenaming(renaming) }
      const doubtful = isSquare(tensor.dims) && right!.has(place) && isAveraged(tensor.dtype)
      const found = doubtful ? await this.#orientation(tensor, place) : null
      if (found?.transposed) this.#put(tensor, place, true, { by: 'content', note: describeFound(found) })
      else this.#put(tensor, place, form === 'transposed', placed)
    }
  }

  /** How a square matrix lies in a place, if the values of the model tell. */
  async #orientation({ name, dims }: PlannedTensor, place: string): Promise<Found | null> {
    const { template, first } = this.#context
    const group = { tensors: [name], places: [place], dims }
    const comparison = await Comparison.of(group, template, only(first), FEW_ELEMENTS)
    return comparison.found()[0] ?? null
  }

  async #byContent(): Promise<void> {
    const { template } = this.#context
    const learned = await learnedPlaces(template.model.model)
    for (const group of this.#groups()) {
      const comparison = await Comparison.of(group, template, this.#checkpoints())
      this.#comparisons.push(comparison)
      const types = new Map(this.#left().map(tensor => [tensor.name, tensor]))
      for (const found of comparison.found()) {
        const note = describeFound(found)
        this.#put(types.get(found.tensor)!, found.place, found.transposed, { by: 'content', note })
      }
      const left = group.tensors.filter(name => !this.#placed.has(name))
      const free = group.places.filter(place => this.#free.has(place))
      if (left.length !== 1 || free.length !== 1 || isSquare(group.dims) || !learned.has(free[0]!)) continue
      const tensor = types.get(left[0]!)!
      const form = formOf(tensor, template.tensors.get(free[0]!)!)
      this.#put(tensor, free[0]!, form === 'transposed', { by: 'shape', note: 'the only one left' })
    }
  }

  /** Weights and places that are left, those of like shape together; a tensor that is tied to one before counts once. */
  #groups() {
    const groups = new Map<string, { tensors: string[]; places: string[]; dims: Shape }>()
    const groupOf = (type: Pick<PlannedTensor, 'dtype' | 'dims'>) => {
      const key = likeness(type)
      const group = groups.get(key) ?? { tensors: [], places: [], dims: likeDims(type.dims) }
      groups.set(key, group)
      return group
    }
    const ties = new Set<string>()
    for (const tensor of this.#left()) {
      if (!isAveraged(tensor.dtype)) continue
      const tie = this.#tieOf(tensor)
      if (tie !== null && ties.has(tie)) continue
      if (tie !== null) ties.add(tie)
      groupOf(tensor).tensors.push(tensor.name)
    }
    for (const place of this.#free) {
      const target = this.#context.template.tensors.get(place)!
      if (target.fixed === null) groupOf(target).places.push(place)
    }
    return [...groups.values()].filter(({ tensors, places }) => tensors.length > 0 && places.length > 0)
  }

  /** Equal for matrices that are tied. Vectors may be equal by chance, such as the zeros that training starts from. */
  #tieOf({ name, dtype, dims }: PlannedTensor): string | null {
    const tie = dims.length < 2 ? null : this.#context.tieOf(name)
    return tie === null ? null : `${typeText({ dtype, dims })} ${tie}`
  }

  /** A tensor with the elements of one that has its place needs none: exporters write tied weights once. */
  #byTies(): void {
    const twins = new Map<string | null, string>()
    for (const tensor of this.#placed.values()) if (tensor.placed) twins.set(this.#tieOf(tensor), tensor.name)
    for (const tensor of this.#left()) {
      const tie = this.#tieOf(tensor)
      const twin = tie === null ? undefined : twins.get(tie)
      if (twin !== undefined)
        this.#drop(tensor, `tied to "${twin}", which has the same elements in all files`)
    }
  }

  /** The first checkpoint, then others; what was opened stays open until the end. */
  async *#checkpoints(): AsyncGenerator<Checkpoint, void> {
    const { first, paths } = this.#context
    yield first
    const count = Math.min(COMPARED, paths.length)
    for (let i = 1; i < count; i++) {
      const path = paths[Math.round((i * (paths.length - 1)) / (count - 1))]!
      this.#open[i - 1] ??= await openCheckpoint(path)
      yield this.#open[i - 1]!
    }
  }

  #shapeWarning(): string[] {
    const pairs = [...this.#placed.values()].filter(({ placed }) => placed?.by === 'shape')
    if (pairs.length === 0) return []
    const list = pairs.map(({ name, place }) => `"${name}" is "${place!}"`)
    return [`placed by shape alone: ${shown(list)}; if that is wrong, say it with --map NAME=PLACE`]
  }

  async #keepWarning(kept: readonly PlannedTensor[]): Promise<string[]> {
    const { template, first } = this.#context
    const many = kept.filter(({ dtype, dims }) => DTYPES[dtype].float && sizeOf(dims) > 1)
    if (many.length === 0) return []
    const learned = await learnedPlaces(template.model.model)
    const list = many.filter(({ name }) => learned.has(name)).map(({ name }) => `"${name}"`)
    if (list.length === 0) return []
    const [of, from] = [template.path, first.path]
    const what =
      list.length === 1
        ? `1 weight of ${of} stays as it is, as no tensor of ${from} goes into it`
        : `${list.length} weights of ${of} stay as they are, as no tensor of ${from} goes into them`
    return [`${what}: ${shown(list)}`]
  }
}

function describeRenaming({ remove, add }: { remove: string; add: string }): string {
  return [remove && `${remove} removed`, add && `${add} added`].filter(Boolean).join(', ')
}

function describeFound({ distance, next, path }: Found): string {
  if (distance === 0) return `the same elements in ${path}`
  const other = next === Infinity ? '' : `, the next one ${next.toPrecision(2)}`
  return `${distance.toPrecision(2)} apart in ${path}${other}`
}

function shown(list: readonly string[]): string {
  return list.slice(0, SHOWN).join(', ') + (list.length > SHOWN ? ` and ${list.length - SHOWN} more` : '')
}
