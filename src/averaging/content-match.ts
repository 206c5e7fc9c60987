/**
 * Which tensor of a checkpoint is which of a model, by what they hold. A graph has values of its own: those of one of the
 * checkpoints, or of the weights that the run started from, or of another moment of the run. They lie nearer to the
 * tensor they come from than to any other one.
 *
 * The distance of two tensors is ||a - b|| / sqrt(||a||² + ||b||²) over the elements that are looked at: 0 for equal ones,
 * about 1 for tensors that have nothing to do with each other. A tensor and a place belong together if their distance is at
 * most 1/2 and at most half of that of the tensor to any other place and of the place to any other tensor; equal ones
 * (distance 0) do unless there is another equal one. A square matrix and its transpose count as two. A place whose elements
 * are all alike, such as the zeros or ones that training starts from, tells nothing.
 */

import { sameShape, type Shape } from '../tensor/shape.ts'
import type { Checkpoint } from './checkpoint.ts'
import { elementsOf, gridOf, sample, type Grid } from './sampling.ts'

/** Elements looked at of one tensor, and of all places of a group together. */
const ELEMENTS = 1 << 16
/** Elements that tell whether two tensors are the same, or one is the transpose of the other. */
export const FEW_ELEMENTS = 1 << 12
const ALL_ELEMENTS = 1 << 21
const FEWEST = 256
/** So many pairs are compared at most; of a larger group nothing is known. */
const MOST_PAIRS = 1 << 16
/** The greatest distance, as a share of 1 and of the next distance. */
const MARGIN = 0.5

/** Tensors and places of one element type and of the same dims, or of transposed ones. */
export interface Group {
  /** Names in the checkpoints. */
  readonly tensors: readonly string[]
  /** Names in the model. */
  readonly places: readonly string[]
  /** Those of the tensors and places, or the transposed ones. */
  readonly dims: Shape
}

/** A possible place of a tensor. */
export interface Candidate {
  readonly tensor: string
  readonly place: string
  readonly transposed: boolean
  /** To the nearest checkpoint that was looked at; infinite where the values tell nothing. */
  readonly distance: number
  /** That checkpoint. */
  readonly path: string
}

export interface Found extends Candidate {
  /** The distance of the next candidate of the tensor or of the place; infinite without one. */
  readonly next: number
}

export function isSquare(dims: Shape): boolean {
  return dims.length === 2 && dims[0] === dims[1] && dims[0]! > 1
}

/** The distances of all tensors of a group to all its places. */
export class Comparison {
  readonly #group: Group
  readonly #model: Checkpoint
  readonly #grid: Grid
  /** A square matrix as it is and transposed. */
  readonly #forms: readonly boolean[]
  /** By tensor, place and form. */
  readonly #distances: Float64Array
  readonly #paths: string[] = []
  /** Of each distance, the checkpoint among `#paths`. */
  readonly #nearest: Uint8Array
  /** Tensors of transposed dims. */
  readonly #turned = new Map<string, boolean>()

  private constructor(group: Group, model: Checkpoint, limit: number) {
    const { tensors, places, dims } = group
    this.#group = group
    this.#model = model
    const share = Math.floor(ALL_ELEMENTS / places.length)
    this.#grid = gridOf(dims, Math.max(FEWEST, Math.min(limit, share)))
    this.#forms = isSquare(dims) ? [false, true] : [false]
    const pairs = tensors.length * places.length
    this.#distances = new Float64Array(pairs > MOST_PAIRS ? 0 : pairs * this.#forms.length).fill(Infinity)
    this.#nearest = new Uint8Array(this.#distances.length)
  }

  /**
   * Looks at checkpoints, at most 256 of them, until every tensor has its place; of its distances in several of them the
   * least ones count.
   */
  static async of(
    group: Group,
    model: Checkpoint,
    checkpoints: AsyncIterable<Checkpoint>,
    limit = ELEMENTS,
  ): Promise<Comparison> {
    const comparison = new Comparison(group, model, limit)
    if (comparison.#distances.length === 0) return comparison
    const places: (Float64Array | null)[] = []
    for (const place of group.places) {
      const elements = await comparison.#sample(model, place, false)
      places.push(isUniform(elements) ? null : elements)
    }
    for await (const checkpoint of checkpoints) {
      await comparison.#look(checkpoint, places)
      if (comparison.found().length === group.tensors.length) break
    }
    return comparison
  }

  /** `places`: their elements; null for those that tell nothing. */
  async #look(checkpoint: Checkpoint, places: readonly (Float64Array | null)[]): Promise<void> {
    this.#paths.push(checkpoint.path)
    let at = 0
    for (const tensor of this.#group.tensors) {
      this.#turned.set(tensor, this.#isTurned(checkpoint, tensor))
      const samples: Float64Array[] = []
      for (const form of this.#forms) samples.push(await this.#sample(checkpoint, tensor, form))
      for (const place of places) {
        for (const given of samples) {
          const distance = place ? distanceOf(given, place) : Infinity
          if (distance < this.#distances[at]!) {
            this.#distances[at] = distance
            this.#nearest[at] = this.#paths.length - 1
          }
          at++
        }
      }
    }
  }

  /** The pairs that belong together by the rule above. */
  found(): Found[] {
    const { tensors, places } = this.#group
    const forms = this.#forms.length
    const [rows, columns] = [tensors.map(() => new Least()), places.map(() => new Least())]
    this.#distances.forEach((distance, at) => {
      const [row, column] = this.#coordinates(at)
      rows[row]!.add(distance, at)
      columns[column]!.add(distance, at)
    })
    return rows.flatMap(({ at }) => {
      if (at < 0) return []
      const distance = this.#distances[at]!
      const [row, column] = [
        rows[Math.floor(at / (places.length * forms))]!,
        columns[this.#coordinates(at)[1]]!,
      ]
      const next = Math.min(row.other(at), column.other(at))
      const apart = distance <= MARGIN && (distance === 0 ? next > 0 : distance <= next * MARGIN)
      return apart ? [{ ...this.#candidate(at), next }] : []
    })
  }

  /** All candidates of a tensor, the nearest one first; none for a tensor of another group. */
  candidatesOf(tensor: string): Candidate[] {
    const row = this.#group.tensors.indexOf(tensor)
    if (row < 0 || this.#paths.length === 0) return []
    const size = this.#distances.length / this.#group.tensors.length
    const candidates = Array.from({ length: size }, (_, i) => this.#candidate(row * size + i))
    return candidates.sort((a, b) => (a.distance < b.distance ? -1 : a.distance > b.distance ? 1 : 0))
  }

  #coordinates(at: number): [tensor: number, place: number, form: number] {
    const forms = this.#forms.length
    const pair = Math.floor(at / forms)
    const places = this.#group.places.length
    return [Math.floor(pair / places), pair % places, at % forms]
  }

  #candidate(at: number): Candidate {
    const [row, column, form] = this.#coordinates(at)
    const [tensor, place] = [this.#group.tensors[row]!, this.#group.places[column]!]
    const turned = this.#turned.get(tensor) !== this.#isTurned(this.#model, place)
    const transposed = this.#forms.length > 1 ? this.#forms[form]! : turned
    const path = this.#paths[this.#nearest[at]!]!
    return { tensor, place, transposed, distance: this.#distances[at]!, path }
  }

  /** The elements of the grid; of a tensor of transposed dims those of its transpose. */
  #sample(checkpoint: Checkpoint, name: string, form: boolean): Promise<Float64Array> {
    return sample(elementsOf(checkpoint, name), this.#grid, form || this.#isTurned(checkpoint, name))
  }

  #isTurned({ tensors }: Checkpoint, name: string): boolean {
    return !sameShape(tensors.get(name)!.dims, this.#group.dims)
  }
}

/** A checkpoint as the only one to look at. */
export async function* only(checkpoint: Checkpoint): AsyncGenerator<Checkpoint, void> {
  yield await Promise.resolve(checkpoint)
}

/** The two least of several distances, and where the least one is. */
class Least {
  at = -1
  #first = Infinity
  #second = Infinity

  add(distance: number, at: number): void {
    if (distance < this.#first) {
      this.#second = this.#first
      this.#first = distance
      this.at = at
    } else this.#second = Math.min(this.#second, distance)
  }

  /** The least distance but for that at `at`. */
  other(at: number): number {
    return at === this.at ? this.#second : this.#first
  }
}

function isUniform(elements: Float64Array): boolean {
  return elements.every(element => element === elements[0])
}

/** The share of the length of both tensors together by which they differ: see above. */
export function distanceOf(a: Float64Array, b: Float64Array): number {
  let difference = 0
  let squares = 0
  for (let i = 0; i < a.length; i++) {
    const [x, y] = [a[i]!, b[i]!]
    difference += (x - y) * (x - y)
    squares += x * x + y * y
  }
  if (difference === 0) return 0
  const distance = Math.sqrt(difference / squares)
  return Number.isNaN(distance) ? Infinity : distance
}
