/** How far predicted numbers are from the wanted ones. */

import { known, mean, type Figures } from './family.ts'

/**
 * Over all values: mse (the loss), mae, rmse = √mse. R² is the mean over the columns (the values of one sample) of
 *
 *     1 − Σ (t − y)² / Σ (t − mean t)²
 *
 * A column whose wanted values are all the same counts 1 where it is met and 0 elsewhere (scikit-learn's r2_score); of a
 * single sample there is none.
 */
export class Values {
  #rows = 0
  #absolute = 0
  #squared = 0
  readonly #columns: number
  readonly #mean: Float64Array
  /** Σ (t − mean t)² and Σ (t − y)² of each column. */
  readonly #spread: Float64Array
  readonly #residual: Float64Array

  constructor(columns: number) {
    this.#columns = columns
    this.#mean = new Float64Array(columns)
    this.#spread = new Float64Array(columns)
    this.#residual = new Float64Array(columns)
  }

  /** Adds `rows` samples: [rows, columns] predictions and wanted values. */
  add(predicted: ArrayLike<number>, wanted: ArrayLike<number>, rows: number): void {
    for (let row = 0; row < rows; row++) {
      this.#rows++
      for (let column = 0; column < this.#columns; column++) {
        const [y, t] = [predicted[row * this.#columns + column]!, wanted[row * this.#columns + column]!]
        this.#absolute += Math.abs(y - t)
        this.#squared += (y - t) ** 2
        this.#residual[column]! += (y - t) ** 2
        // Welford's update: no difference of large sums.
        const before = t - this.#mean[column]!
        this.#mean[column]! += before / this.#rows
        this.#spread[column]! += before * (t - this.#mean[column]!)
      }
    }
  }

  figures(): Figures {
    const values = this.#rows * this.#columns
    const mse = this.#squared / values
    const r2 =
      this.#rows < 2 ? NaN : mean(Array.from(this.#spread, (spread, c) => this.#explained(spread, c)))
    // A diverged model has a loss that is NaN, which must show.
    return { loss: mse, mae: this.#absolute / values, rmse: Math.sqrt(mse), ...known({ r2 }) }
  }

  #explained(spread: number, column: number): number {
    const residual = this.#residual[column]!
    if (spread > 0) return 1 - residual / spread
    return residual === 0 ? 1 : 0
  }
}
