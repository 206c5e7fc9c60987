/** Live charts of what a version does, with the same in a sentence and a table. */

import { byId, element } from '../../browser/page/shared/elements.ts'
import { Plot, type Curve } from '../../browser/page/shared/plot.ts'
import type { PageModel, PageTraffic } from '../http/page-messages.ts'
import { titleOf } from './models-view.ts'
import { SECONDS_SHOWN, TrafficHistory, type TrafficPoint } from './traffic-history.ts'

const POLL_MS = 1000
const ROWS = 10
/** Charts move less often for those who want little motion. */
const CALM_READINGS = 5
const reducedMotion = matchMedia('(prefers-reduced-motion: reduce)')

const now = byId('traffic-now', HTMLElement)
const pause = byId('pause', HTMLButtonElement)
const details = byId('traffic-rows', HTMLElement)

interface Chart {
  readonly plot: Plot
  readonly values: readonly ((point: TrafficPoint) => number | null)[]
}

export class TrafficView {
  readonly #poll: () => Promise<PageTraffic>
  readonly #history = new TrafficHistory()
  readonly #charts: readonly Chart[]
  /** undefined: nobody knows yet what is in service; null: nothing is. */
  #model: PageModel | null | undefined = undefined
  #paused = false
  #readings = 0

  /**
   * `poll` reads the counters, also while the charts stand still: it shows what else has changed. What it throws is shown,
   * and it is asked again.
   */
  constructor(poll: () => Promise<PageTraffic>) {
    this.#poll = poll
    this.#charts = [
      chart('rate-chart', formatRate, [
        [curve('requests', 'first'), ({ requests }) => requests],
        [curve('failures', 'bad'), ({ failures }) => failures],
      ]),
      chart('latency-chart', formatMs, [
        [curve('p50', 'first'), ({ p50 }) => p50],
        [curve('p99', 'val'), ({ p99 }) => p99],
      ]),
      chart('pending-chart', String, [[curve('pending', 'first'), ({ pending }) => pending]]),
    ]
    pause.addEventListener('click', () => {
      this.#paused = !this.#paused
      pause.setAttribute('aria-pressed', String(this.#paused))
      this.#history.interrupt()
    })
    document.addEventListener('visibilitychange', () => this.#history.interrupt())
    void this.#turn()
  }

  setModel(model: PageModel | null): void {
    this.#model = model
    this.#show(true)
  }

  #isWatched(): boolean {
    return this.#model !== undefined && document.visibilityState === 'visible'
  }

  async #turn(): Promise<void> {
    if (this.#isWatched()) {
      try {
        const counters = await this.#poll()
        // Nobody may be looking any more.
        if (this.#isWatched() && !this.#paused) this.#add(counters)
      } catch (error) {
        this.#history.interrupt()
        now.textContent = `The traffic cannot be read: ${error instanceof Error ? error.message : String(error)}`
      }
    }
    setTimeout(() => void this.#turn(), POLL_MS)
  }

  #add(counters: PageTraffic): void {
    this.#history.add(counters)
    this.#readings++
    this.#show(!reducedMotion.matches || this.#readings % CALM_READINGS === 0)
  }

  #show(drawing: boolean): void {
    const model = this.#model ?? null
    const points = model === null ? [] : this.#history.of(model)
    const last = points.at(-1)
    const says = last === undefined ? 'waiting for two readings…' : sentence(last)
    now.textContent = model === null ? 'Nothing is in service.' : `${titleOf(model)}: ${says}`
    details.replaceChildren(...points.slice(-ROWS).reverse().map(tableRow))
    if (!drawing) return
    const times = points.map(({ time }) => time)
    for (const { plot, values } of this.#charts) {
      plot.set([times, ...values.map(value => points.map(value))])
    }
  }
}

function curve(label: string, color: string): Curve {
  return { label, color, width: 2, points: true }
}

function chart(
  id: string,
  format: (value: number) => string,
  curves: readonly (readonly [Curve, (point: TrafficPoint) => number | null])[],
): Chart {
  const plot = new Plot(byId(id, HTMLElement), {
    curves: curves.map(([curve]) => curve),
    ...{ x: 'time', seconds: SECONDS_SHOWN, spanGaps: false, fromZero: true },
    ...{ show: format, tick: format },
  })
  return { plot, values: curves.map(([, value]) => value) }
}

function formatRate(value: number): string {
  return value >= 10 ? value.toFixed(0) : String(Number(value.toPrecision(2)))
}

function formatMs(value: number): string {
  return value >= 100 ? value.toFixed(0) : String(Number(value.toPrecision(2)))
}

function sentence({ requests, failures, p50, p99, pending }: TrafficPoint): string {
  const times =
    p50 === null || p99 === null
      ? 'no request was answered'
      : `half of them took at most ${formatMs(p50)} ms, 99 of 100 at most ${formatMs(p99)} ms`
  return `${formatRate(requests)} requests per second, ${formatRate(failures)} failures per second; ${times}; ${pending} wait or run.`
}

function tableRow({ time, requests, failures, p50, p99, pending }: TrafficPoint): HTMLElement {
  const ms = (value: number | null) => (value === null ? '–' : formatMs(value))
  const row = element('tr', '')
  row.append(
    element('th', new Date(1000 * time).toLocaleTimeString(), { scope: 'row' }),
    ...[formatRate(requests), formatRate(failures), ms(p50), ms(p99), String(pending)].map(text =>
      element('td', text),
    ),
  )
  return row
}
