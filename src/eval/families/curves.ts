/**
 * Areas under curves over all thresholds. They are exact, so every score is kept: 8 bytes for each class of each sample,
 * up to MOST_SCORES of them; above that the areas are left out.
 */

import { known, mean, type BinaryFamily, type ClassFamily, type Figures } from './family.ts'

/** 64 MiB of scores: a million samples of eight classes, or 8,000 of a thousand. */
export const MOST_SCORES = 2 ** 23

/** A list of float64 that grows. */
class Numbers {
  #values = new Float64Array(64)
  #length = 0

  push(value: number): void {
    if (this.#length === this.#values.length) {
      const larger = new Float64Array(2 * this.#length)
      larger.set(this.#values)
      this.#values = larger
    }
    this.#values[this.#length++] = value
  }

  /** In descending order. */
  sorted(): Float64Array {
    return this.#values.slice(0, this.#length).sort().reverse()
  }
}

export interface Areas {
  /** Of the receiver operating characteristic: the share of pairs (positive, negative) in the right order, ties half. */
  readonly auc: number
  /** Σ over thresholds of (rise of the recall) · precision there (scikit-learn's average_precision_score). */
  readonly averagePrecision: number
}

/** The scores of positives and negatives of one class. */
export class Scores {
  readonly #positives = new Numbers()
  readonly #negatives = new Numbers()

  add(score: number, positive: boolean): void {
    ;(positive ? this.#positives : this.#negatives).push(score)
  }

  /** NaN where positives, or negatives, are missing or a score is NaN. */
  areas(): Areas {
    const [positives, negatives] = [this.#positives.sorted(), this.#negatives.sorted()]
    const nothing = { auc: NaN, averagePrecision: NaN }
    // Sorting puts NaN last, reversing first.
    if (positives.length === 0 || Number.isNaN(positives[0]) || Number.isNaN(negatives[0])) return nothing
    let [p, n] = [0, 0]
    let [ordered, precisions] = [0, 0]
    while (p < positives.length || n < negatives.length) {
      const threshold = Math.max(positives[p] ?? -Infinity, negatives[n] ?? -Infinity)
      const [hits, wrong] = [p, n]
      while (positives[p] === threshold) p++
      while (negatives[n] === threshold) n++
      ordered += (n - wrong) * ((hits + p) / 2)
      if (p > hits) precisions += (p - hits) * (p / (p + n))
    }
    return {
      auc: negatives.length === 0 ? NaN : ordered / (positives.length * negatives.length),
      averagePrecision: precisions / positives.length,
    }
  }
}

/** Scores of several classes, as long as they fit. */
class ScoreTable {
  #columns: Scores[] | null
  #left = MOST_SCORES

  constructor(columns: number) {
    this.#columns = Array.from({ length: columns }, () => new Scores())
  }

  add(column: number, score: number, positive: boolean): void {
    if (this.#columns === null) return
    if (this.#left-- === 0) {
      this.#columns = null
      return
    }
    this.#columns[column]!.add(score, positive)
  }

  /** Areas of the classes; none where there were too many scores. */
  areas(): Areas[] {
    return (this.#columns ?? []).map(column => column.areas())
  }
}

const average = (areas: readonly Areas[], key: keyof Areas) =>
  mean(areas.map(area => area[key]).filter(area => !Number.isNaN(area)))

/** One class of many: the mean over the classes, each against the rest, of those that some samples have and some have not. */
export function classCurves(classes: number): ClassFamily {
  const table = new ScoreTable(classes)
  return {
    wantsProbabilities: true,
    add: ({ label, probabilities }) => {
      probabilities.forEach((score, c) => table.add(c, score, c === label))
    },
    figures: () => known({ auc: average(table.areas(), 'auc') }),
  }
}

/** Yes-no decisions: of the only column, or the means over the columns (mAP). */
export function binaryCurves(columns: number): BinaryFamily {
  const table = new ScoreTable(columns)
  const figures = (): Figures => {
    const areas = table.areas()
    return known({ auc: average(areas, 'auc'), averagePrecision: average(areas, 'averagePrecision') })
  }
  return { add: ({ column, output, target }) => table.add(column, output, target > 0.5), figures }
}
