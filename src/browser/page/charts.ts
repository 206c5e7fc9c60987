/** The live curves: training as it goes (smoothed), validation where it was measured. */

import uPlot from 'uplot'

/** Share of the curve so far in each smoothed value. */
const SMOOTHING = 0.9
const HEIGHT = 220
/** Redrawing at each step would take the time that training needs. */
const REDRAW_MS = 200

export class Chart {
  readonly #place: HTMLElement
  readonly #percent: boolean
  readonly #steps: number[] = []
  readonly #train: (number | null)[] = []
  readonly #val: (number | null)[] = []
  #smooth: number | null = null
  #plot: uPlot | null = null
  #timer: number | null = null

  /** `percent`: values are shares, shown as percentages. */
  constructor(place: HTMLElement, percent: boolean) {
    this.#place = place
    this.#percent = percent
    new ResizeObserver(() => this.#plot?.setSize({ width: place.clientWidth, height: HEIGHT })).observe(place)
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.#create())
  }

  clear(): void {
    for (const column of [this.#steps, this.#train, this.#val]) column.length = 0
    this.#smooth = null
    this.#create()
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
      this.#plot?.setData(this.#data())
    }, REDRAW_MS)
  }

  #data(): uPlot.AlignedData {
    return [this.#steps, this.#train, this.#val]
  }

  #create(): void {
    this.#plot?.destroy()
    const style = getComputedStyle(document.documentElement)
    const color = (name: string) => style.getPropertyValue(`--${name}`).trim()
    const show = (value: number | null) =>
      value === null ? '' : this.#percent ? `${(100 * value).toFixed(2)} %` : value.toPrecision(4)
    const axis = { stroke: color('soft'), grid: { stroke: color('line'), width: 1 }, ticks: { show: false } }
    const series = (label: string, name: string, width: number, points: boolean): uPlot.Series => ({
      label,
      stroke: color(name),
      width,
      spanGaps: true,
      points: { show: points, size: 6, fill: color(name) },
      value: (_, value: number | null) => show(value),
    })
    const options: uPlot.Options = {
      width: Math.max(200, this.#place.clientWidth),
      height: HEIGHT,
      scales: { x: { time: false } },
      axes: [
        axis,
        {
          ...axis,
          size: 60,
          values: (_, ticks) =>
            ticks.map(tick => (this.#percent ? `${Math.round(100 * tick)} %` : String(tick))),
        },
      ],
      series: [
        { label: 'step' },
        series('training', 'train', 1.5, false),
        series('validation', 'val', 2, true),
      ],
    }
    this.#plot = new uPlot(options, this.#data(), this.#place)
  }
}
