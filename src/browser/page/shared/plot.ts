/** A chart of lines in the page's colours; it follows the width of its place and the colour scheme. */

import uPlot from 'uplot'

const HEIGHT = 220
const AXIS_WIDTH = 60

export interface Curve {
  readonly label: string
  /** The name of a colour of base.css. */
  readonly color: string
  readonly width: number
  /** Whether each value gets a mark. */
  readonly points: boolean
}

export interface PlotOptions {
  readonly curves: readonly Curve[]
  /** What the values of x are, for the legend. */
  readonly x: string
  /** For an x in seconds since 1970: how many of them are shown, up to the last one. */
  readonly seconds?: number
  /** Whether values that are missing are drawn over. */
  readonly spanGaps: boolean
  /** Whether y begins at 0. */
  readonly fromZero: boolean
  /** A value in the legend. */
  readonly show: (value: number) => string
  /** A value on the axis. */
  readonly tick: (value: number) => string
}

/** The values of x, then those of each curve. */
export type PlotData = uPlot.AlignedData

export class Plot {
  readonly #place: HTMLElement
  readonly #options: PlotOptions
  #data: PlotData | null = null
  #plot: uPlot | null = null

  constructor(place: HTMLElement, options: PlotOptions) {
    this.#place = place
    this.#options = options
    new ResizeObserver(() => this.#plot?.setSize({ width: this.#width, height: HEIGHT })).observe(place)
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.#create())
  }

  set(data: PlotData): void {
    this.#data = data
    if (this.#plot === null) this.#create()
    else this.#plot.setData(data)
  }

  get #width(): number {
    return Math.max(200, this.#place.clientWidth)
  }

  #create(): void {
    if (this.#data === null) return
    this.#plot?.destroy()
    const { curves, x, seconds, spanGaps, fromZero, show, tick } = this.#options
    const style = getComputedStyle(document.documentElement)
    const color = (name: string) => style.getPropertyValue(`--${name}`).trim()
    const axis = { stroke: color('soft'), grid: { stroke: color('line'), width: 1 }, ticks: { show: false } }
    const y: uPlot.Scale = fromZero ? { range: (_, __, most) => [0, most > 0 ? 1.1 * most : 1] } : {}
    this.#plot = new uPlot(
      {
        width: this.#width,
        height: HEIGHT,
        scales: { x: seconds === undefined ? { time: false } : lastSeconds(seconds), y },
        axes: [
          seconds === undefined ? axis : { ...axis, ...CLOCK },
          { ...axis, size: AXIS_WIDTH, values: (_, ticks) => ticks.map(tick) },
        ],
        series: [
          { label: x },
          ...curves.map(({ label, color: name, width, points }) => ({
            ...{ label, width, spanGaps },
            stroke: color(name),
            points: { show: points, size: 6, fill: color(name) },
            value: (_: uPlot, value: number | null) => (value === null ? '' : show(value)),
          })),
        ],
      },
      this.#data,
      this.#place,
    )
  }
}

/** The time of the day, in one line. */
const CLOCK: uPlot.Axis = {
  space: 80,
  values: (_, ticks) => ticks.map(tick => new Date(1000 * tick).toLocaleTimeString([], { hour12: false })),
}

function lastSeconds(seconds: number): uPlot.Scale {
  return { time: true, range: (_, __, last) => [last - seconds, last] }
}
