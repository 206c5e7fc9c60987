/** Parts of a data set: some rows, some classes, a balanced sample, a stratified split. */

import { InputError, UsageError } from '../util/errors.ts'
import { Random } from '../util/random.ts'
import {
  hasLabels,
  type Columns,
  type Dataset,
  type Field,
  type Sample,
  type Target,
  type TargetField,
} from './dataset.ts'
import type { Geometry } from './geometry.ts'

/** Some samples of a data set, in the order of `rows`; `relabel` maps its classes to the new ones. */
class Subset implements Dataset {
  readonly name: string
  readonly length: number
  readonly fields: readonly Field[]
  readonly targets: readonly TargetField[]
  readonly classes: readonly string[] | null
  readonly notes: readonly string[]
  readonly columns: Columns | null
  readonly #base: Dataset
  readonly #rows: Uint32Array
  readonly #relabel: Int32Array | null

  constructor(
    base: Dataset,
    name: string,
    rows: Uint32Array,
    classes: readonly string[] | null,
    relabel: Int32Array | null,
  ) {
    this.name = name
    this.length = rows.length
    this.fields = base.fields
    const [main, ...others] = base.targets
    this.targets = relabel ? [{ ...main!, classes }, ...others] : base.targets
    this.notes = base.notes
    this.classes = classes
    const inner = base.columns?.rows
    this.columns = base.columns && {
      inputs: base.columns.inputs,
      rows: inner ? rows.map(row => inner[row]!) : rows,
    }
    this.#base = base
    this.#rows = rows
    this.#relabel = relabel
  }

  label(index: number): number | null {
    const label = this.#base.label(this.#rows[index]!)
    return label === null || this.#relabel === null ? label : this.#relabel[label]!
  }

  target(index: number, target = 0): Target {
    const label = target === 0 ? this.label(index) : null
    return label ?? this.#base.target(this.#rows[index]!, target)
  }

  maskCounts(index: number): Uint32Array | undefined {
    return this.#base.maskCounts?.(this.#rows[index]!)
  }

  sampleName(index: number): string {
    return this.#base.sampleName(this.#rows[index]!)
  }

  load(index: number, geometry?: Geometry): Promise<Sample> {
    return this.#base.load(this.#rows[index]!, geometry)
  }
}

/** The samples at `rows`, in that order. */
export function subset(dataset: Dataset, rows: ArrayLike<number>, name = dataset.name): Dataset {
  return new Subset(dataset, name, Uint32Array.from(rows), dataset.classes, null)
}

/** Only the named classes; the first of them becomes class 0, and so on. */
export function selectClasses(dataset: Dataset, names: readonly string[]): Dataset {
  const { classes } = dataset
  if (classes === null || !hasLabels(dataset))
    throw new UsageError(
      `${dataset.name}: targets are ${classes === null ? 'values' : 'not one class a sample'}, there are no classes to select`,
    )
  const relabel = new Int32Array(classes.length).fill(-1)
  names.forEach((name, label) => {
    const index = classes.indexOf(name)
    if (index < 0)
      throw new UsageError(`${dataset.name}: no class is named '${name}', found ${quoteSome(classes)}`)
    if (relabel[index]! >= 0) throw new UsageError(`${dataset.name}: class '${name}' is selected twice`)
    relabel[index] = label
  })
  const rows = indicesWhere(dataset, i => relabel[dataset.label(i)!]! >= 0)
  if (rows.length === 0)
    throw new InputError(`${dataset.name}: the selected classes ${quoteSome(names)} have no samples`)
  return new Subset(dataset, dataset.name, Uint32Array.from(rows), [...names], relabel)
}

/**
 * At most `limit` samples, balanced: in each round one more of every class that has any left, so that counts differ by
 * at most one unless a class runs out. The samples keep their order. Values are sampled without regard to them.
 */
export function limitDataset(dataset: Dataset, limit: number, seed: number): Dataset {
  if (!Number.isSafeInteger(limit) || limit < 1)
    throw new UsageError(`data limit: expected a positive integer, got ${limit}`)
  if (limit >= dataset.length) return dataset
  const groups = shuffledGroups(dataset, seed)
  const rows: number[] = []
  for (let round = 0; rows.length < limit; round++) {
    for (const group of groups) if (round < group.length && rows.length < limit) rows.push(group[round]!)
  }
  return subset(
    dataset,
    rows.sort((a, b) => a - b),
  )
}

/**
 * A seeded split into [1 - fraction, fraction], e.g. training and validation. Each class gives its share, rounded by
 * largest remainder so that the second part has round(length * fraction) samples. Both parts keep the order.
 */
export function splitDataset(dataset: Dataset, fraction: number, seed: number): [Dataset, Dataset] {
  if (!(fraction > 0 && fraction < 1))
    throw new UsageError(`data split: expected a fraction between 0 and 1, got ${fraction}`)
  const total = Math.round(dataset.length * fraction)
  if (total === 0 || total === dataset.length) {
    throw new InputError(
      `${dataset.name}: ${dataset.length} samples cannot be split by ${fraction}: one part would be empty`,
    )
  }
  const groups = shuffledGroups(dataset, seed)
  const shares = groups.map(group => group.length * fraction)
  const counts = shares.map(Math.floor)
  const byRemainder = shares
    .map((share, i) => ({ i, remainder: share - counts[i]! }))
    .sort((a, b) => b.remainder - a.remainder || a.i - b.i)
  let missing = total - counts.reduce((sum, count) => sum + count, 0)
  for (const { i } of byRemainder) if (missing-- > 0) counts[i]!++
  const held = new Uint8Array(dataset.length)
  groups.forEach((group, i) => group.slice(0, counts[i]).forEach(row => (held[row] = 1)))
  return [
    subset(
      dataset,
      indicesWhere(dataset, i => held[i] === 0),
      `${dataset.name} (all but ${fraction})`,
    ),
    subset(
      dataset,
      indicesWhere(dataset, i => held[i] === 1),
      `${dataset.name} (held out ${fraction})`,
    ),
  ]
}

/** The samples of each class (or all, for values) in a seeded random order. */
function shuffledGroups(dataset: Dataset, seed: number): number[][] {
  const groups = Array.from({ length: hasLabels(dataset) ? dataset.classes!.length : 1 }, (): number[] => [])
  for (let i = 0; i < dataset.length; i++) groups[dataset.label(i) ?? 0]!.push(i)
  return groups.map((group, label) =>
    Array.from(Random.of(seed, label).permutation(group.length), position => group[position]!),
  )
}

function indicesWhere(dataset: Dataset, keep: (index: number) => boolean): number[] {
  const rows: number[] = []
  for (let i = 0; i < dataset.length; i++) if (keep(i)) rows.push(i)
  return rows
}

/** `'a', 'b', 'c' and 12 more`, for messages. */
export function quoteSome(names: readonly string[], most = 8): string {
  if (names.length === 0) return 'nothing'
  const shown = names.slice(0, most).map(name => `'${name}'`)
  return shown.join(', ') + (names.length > most ? ` and ${names.length - most} more` : '')
}
