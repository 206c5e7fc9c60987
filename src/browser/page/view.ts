/** What a run shows: progress with rate and time left, curves, the table at the end, downloads. */

import type { BrowserEvent, Metrics } from '../index.ts'
import { formatDuration, formatRate } from '../../util/format.ts'
import { Chart } from './charts.ts'
import { byId, element } from './shared/elements.ts'
import type { RunResult } from './messages.ts'

const TITLES: Readonly<Record<string, string>> = {
  start: 'Before training',
  last: 'Last weights',
  best: 'Best snapshot',
  ema: 'Moving average',
  swa: 'SWA average',
}

/** The status line is read aloud: not at each step. */
const STATUS_MS = 1000

const section = byId('run', HTMLElement)
const progress = byId('progress', HTMLProgressElement)
const status = byId('status', HTMLElement)
const error = byId('error', HTMLElement)
const result = byId('result', HTMLElement)
const notes = byId('notes', HTMLElement)
const loss = new Chart(byId('loss-chart', HTMLElement), false)
const accuracy = new Chart(byId('accuracy-chart', HTMLElement), true)

let startedAt: number | null = null
let saidAt = 0
let urls: string[] = []

/** Empties the view for a new run. */
export function beginRun(): void {
  section.hidden = false
  result.hidden = true
  error.hidden = true
  notes.replaceChildren()
  for (const url of urls) URL.revokeObjectURL(url)
  urls = []
  startedAt = null
  progress.removeAttribute('value')
  say('preparing the training program')
  loss.clear()
  accuracy.clear()
}

function say(text: string): void {
  saidAt = performance.now()
  status.textContent = text
}

function sayAtTimes(text: string): void {
  if (performance.now() - saidAt >= STATUS_MS) say(text)
}

const EVENTS: { [K in BrowserEvent['kind']]: (event: Extract<BrowserEvent, { kind: K }>) => void } = {
  note: ({ message }) => notes.append(element('li', message)),
  warning: ({ message }) => notes.append(element('li', `Warning: ${message}`)),
  progress: ({ label, done, total, unit }) => sayAtTimes(`${label}: ${done} of ${total} ${unit}`),
  snapshot: ({ step, count }) => say(`step ${step}: snapshot ${count} taken`),
  step: event => {
    const { step, steps } = event
    startedAt ??= performance.now()
    progress.max = steps
    progress.value = step
    loss.addTraining(step, event.loss)
    if (event.accuracy !== null) accuracy.addTraining(step, event.accuracy)
    // The first step has no time of its own: the rate counts those after it.
    const seconds = (performance.now() - startedAt) / 1000
    const rate = step > 1 && seconds > 0 ? (step - 1) / seconds : null
    const pace = rate === null ? '' : `, ${formatRate(rate)}, ${formatDuration((steps - step) / rate)} left`
    sayAtTimes(
      `step ${step} of ${steps}${pace}, loss ${event.loss.toFixed(4)}, rate ${event.lr.toPrecision(3)}`,
    )
  },
  validated: ({ what, step, summary, metrics }) => {
    loss.addValidation(step, metrics.loss)
    const share = shareOf(metrics)
    if (share !== null) accuracy.addValidation(step, share)
    say(`${what}: ${summary}`)
  },
}

export function showEvent(event: BrowserEvent): void {
  const show = EVENTS[event.kind] as (event: BrowserEvent) => void
  show(event)
}

export function showFailure(message: string, cure: string | null, stopped: boolean): void {
  section.hidden = false
  progress.value = 0
  say(stopped ? 'Stopped; nothing was kept.' : 'The run failed.')
  if (stopped) return
  error.hidden = false
  error.textContent = cure === null ? message : `${message}\nTo cure it: ${cure}.`
}

export function showResult(run: RunResult): void {
  progress.max = 1
  progress.value = 1
  result.hidden = false
  const rows = run.candidates.map(({ name, step, metrics }) => {
    const share = metrics && shareOf(metrics)
    const cells = [
      String(step),
      share === null ? '–' : percent(share),
      metrics ? metrics.loss.toPrecision(4) : '–',
    ]
    const row = element('tr', '', { className: name === 'swa' ? 'selected' : '' })
    row.dataset['name'] = name
    row.append(
      element('th', TITLES[name] ?? name, { scope: 'row' }),
      ...cells.map(cell => element('td', cell)),
    )
    return row
  })
  byId('rows', HTMLElement).replaceChildren(...rows)
  const calibrated =
    run.recalibrated === null ? '' : ` Its batch norms were recalibrated on ${run.recalibrated} samples.`
  const verdict =
    run.swaIsBest === null
      ? ''
      : run.swaIsBest
        ? ' Nothing validates better.'
        : ' Another one validates better.'
  byId('summary', HTMLElement).textContent =
    `The average is of ${run.snapshots} snapshots in ${run.steps} steps.${calibrated}${verdict}`
  byId('downloads', HTMLElement).replaceChildren(
    download('averaged.onnx', run.averaged),
    download('last.onnx', run.last),
  )
  say('Done.')
}

function download(name: string, bytes: Uint8Array): HTMLAnchorElement {
  const url = URL.createObjectURL(
    new Blob([bytes as Uint8Array<ArrayBuffer>], { type: 'application/octet-stream' }),
  )
  urls.push(url)
  return element('a', `Download ${name}`, { className: 'download', href: url, download: name })
}

function shareOf({ top1, accuracy: right }: Metrics): number | null {
  return top1 ?? right ?? null
}

function percent(share: number): string {
  return `${(100 * share).toFixed(2)} %`
}
