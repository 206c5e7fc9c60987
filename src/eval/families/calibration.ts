/** Whether a model is right as often as it says. */

import { known, type BinaryFamily, type ClassFamily, type Figures } from './family.ts'

const BINS = 15

/**
 * Expected calibration error (Guo et al. 2017, "On Calibration of Modern Neural Networks"): predictions fall into 15 bins
 * (i/15, (i+1)/15] by the confidence in the predicted class;
 *
 *     ECE = Σ over bins of (rows of the bin / all rows) · |share that is right − mean confidence|
 */
class Reliability {
  readonly #rows = new Float64Array(BINS)
  readonly #right = new Float64Array(BINS)
  readonly #confidence = new Float64Array(BINS)

  add(confidence: number, right: boolean): void {
    const bin = Math.min(BINS - 1, Math.max(0, Math.ceil(confidence * BINS) - 1))
    this.#rows[bin]!++
    this.#right[bin]! += Number(right)
    this.#confidence[bin]! += confidence
  }

  figures(): Figures {
    const rows = this.#rows.reduce((sum, count) => sum + count, 0)
    const gap = this.#right.reduce((sum, right, bin) => sum + Math.abs(right - this.#confidence[bin]!), 0)
    return known({ ece: gap / rows })
  }
}

/** Of decisions among classes. */
export function calibration(): ClassFamily {
  const bins = new Reliability()
  return {
    add: ({ confidence, predicted, label }) => bins.add(confidence, predicted === label),
    figures: () => bins.figures(),
  }
}

/** Of yes-no decisions: yes and no are two classes. */
export function binaryCalibration(): BinaryFamily {
  const bins = new Reliability()
  return {
    add: ({ probability, yes, target }) =>
      bins.add(yes ? probability : 1 - probability, yes === target > 0.5),
    figures: () => bins.figures(),
  }
}
