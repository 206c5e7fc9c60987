/** Precision, recall, F1 and intersection over union: all come from the true and false positives and negatives of a class. */

import {
  known,
  mean,
  type BinaryFamily,
  type BinaryRow,
  type ClassFamily,
  type ClassRow,
  type Figures,
} from './family.ts'

/** What there is to say about one class. */
export interface ClassFigures {
  /** Elements that are of the class. */
  readonly support: number
  readonly precision: number
  readonly recall: number
  readonly f1: number
  readonly iou: number
}

/** True positives, false positives and false negatives of each class. */
export class Counts {
  readonly #hits: Float64Array
  readonly #falsePositives: Float64Array
  readonly #misses: Float64Array

  constructor(classes: number) {
    this.#hits = new Float64Array(classes)
    this.#falsePositives = new Float64Array(classes)
    this.#misses = new Float64Array(classes)
  }

  hit(index: number): void {
    this.#hits[index]!++
  }

  falsePositive(index: number): void {
    this.#falsePositives[index]!++
  }

  miss(index: number): void {
    this.#misses[index]!++
  }

  /** Of one class; null for a class that neither occurs nor is predicted, which averages leave out. */
  of(index: number): ClassFigures | null {
    const [hits, wrong, missed] = [this.#hits[index]!, this.#falsePositives[index]!, this.#misses[index]!]
    const union = hits + wrong + missed
    if (union === 0) return null
    return {
      support: hits + missed,
      precision: share(hits, hits + wrong),
      recall: share(hits, hits + missed),
      f1: (2 * hits) / (2 * hits + wrong + missed),
      iou: hits / union,
    }
  }

  each(): (ClassFigures | null)[] {
    return Array.from(this.#hits, (_, index) => this.of(index))
  }

  /** F1 of all decisions together. */
  get microF1(): number {
    const sum = (counts: Float64Array) => counts.reduce((total, count) => total + count, 0)
    const hits = sum(this.#hits)
    return (2 * hits) / (2 * hits + sum(this.#falsePositives) + sum(this.#misses))
  }

  /** Unweighted means over the classes (scikit-learn's `macro`, with 0 for 0 / 0), and the micro F1. */
  averages(): { precision: number; recall: number; f1: number; f1Micro: number; meanIou: number } {
    const found = this.each().filter(figures => figures !== null)
    const over = (key: keyof ClassFigures) => mean(found.map(figures => figures[key]))
    return {
      precision: over('precision'),
      recall: over('recall'),
      f1: over('f1'),
      f1Micro: this.microF1,
      meanIou: over('iou'),
    }
  }
}

/** A family that can also tell the classes apart. */
export interface PerClass {
  perClass(): (ClassFigures | null)[]
}

/** Decisions among classes; `dense` ones (pixels) have a mean IoU. */
export function classCounts(classes: number, dense: boolean): ClassFamily & PerClass {
  const counts = new Counts(classes)
  const add = ({ label, predicted }: ClassRow) => {
    if (label === predicted) {
      counts.hit(label)
      return
    }
    counts.miss(label)
    if (predicted >= 0) counts.falsePositive(predicted)
  }
  const figures = (): Figures => {
    const { meanIou, ...averages } = counts.averages()
    return known(dense ? { ...averages, meanIou } : averages)
  }
  return { add, figures, perClass: () => counts.each() }
}

/**
 * Yes-no decisions. One column: precision, recall and F1 are those of "yes". Several: means over the columns, and the
 * micro F1. `dense` decisions (masks) have a mean IoU of the "yes" areas.
 */
export function binaryCounts(columns: number, dense: boolean): BinaryFamily & PerClass {
  const counts = new Counts(columns)
  const add = ({ column, target, yes }: BinaryRow) => {
    const wanted = target > 0.5
    if (yes && wanted) counts.hit(column)
    else if (yes) counts.falsePositive(column)
    else if (wanted) counts.miss(column)
  }
  const figures = (): Figures => {
    const { meanIou, f1Micro, ...averages } = counts.averages()
    return known({ ...averages, ...(columns > 1 ? { f1Micro } : {}), ...(dense ? { meanIou } : {}) })
  }
  return { add, figures, perClass: () => counts.each() }
}

const share = (part: number, whole: number) => (whole === 0 ? 0 : part / whole)
