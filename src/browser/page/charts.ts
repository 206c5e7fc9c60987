/** The live curves: training as it goes (smoothed), validation where it was measured. */

import { Plot } from './shared/plot.ts'

/** Share of the curve so far in each smoothed value. */
const SMOOTHING = 0.9
/** Redrawing at each step would take the time that training needs. */
const REDRAW_MS = 200

export class Chart {
  readonly #plot: Plot
  readonly #steps: number[] = []
  readonly #train: (number | null)[] = []
  readonly #val: (number | null)[] = []
  #smooth: number | null = null
  #timer: number | null = null

  /** `percent`: values are shares, shown as percentages. */
  constructor(place: HTMLElement, percent: boolean) {
    this.#plot = new Plot(place, {
      curves: [
        { label: 'training', color: 'train', width: 1.5, points: false },
        { label: 'validation', color: 'val', width: 2, points: true },
      ],
      x: 'step',
      spanGaps: true,
      fromZero: false,
      show: value => (percent ? `${(100 * value).toFixed(2)} %` : value.toPrecision(4)),
      tick: value => (percent ? `${Math.round(100 * value)} %` : String(value)),
    })
  }

  clear(): void {
    for (const column of [this.#steps, this.#train, this.#val]) column.length = 0
    this.#smooth = null
    this.#show()
  }

  addTraining(step: number, value: number): void {
    this.#smooth = this.#smooth === null ? value : SMOOTHING * this.#smooth + (1 - SMOOTHING) * value
    this.#train[this.#row(step)] = this.#smooth
    this.#draw()
  }

  addValidation(step: number, value: number): void {
    this.#val[this.#row(step)] = value
    this.#draw()
  }

  /** The row of a step; steps come in order. */
  #row(step: number): number {
    const last = this.#steps.length - 1
    if (this.#steps[last] === step) return last
    this.#steps.push(step)
    this.#train.push(null)
    this.#val.push(null)
    return last + 1
  }

  #draw(): void {
    this.#timer ??= window.setTimeout(() => {
      this.#timer = null
      this.#show()
    }, REDRAW_MS)
  }

  #show(): void {
    this.#plot.set([this.#steps, this.#train, this.#val])
  }
}
