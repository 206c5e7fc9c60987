/** report.html: what a run did, as one file that needs no network. */

import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import type { MetricsLine } from '../train/metrics-log.ts'
import type { FinetuneResult } from '../train/finish.ts'
import { RunFolder } from '../train/run-folder.ts'
import { describeMetrics } from '../eval/score.ts'
import { writeFileAtomic } from '../util/files.ts'

/** One chart: values of several metrics over steps. */
interface Chart {
  readonly title: string
  readonly steps: readonly number[]
  readonly series: readonly { readonly label: string; readonly values: readonly (number | null)[] }[]
}

const TITLES: Readonly<Record<string, string>> = {
  start: 'before training',
  last: 'last weights',
  best: 'best snapshot',
  ema: 'moving average',
  swa: 'SWA average',
}

/** Writes the report of a finished run into its folder; returns its path. */
export async function writeReport(result: FinetuneResult): Promise<string> {
  const run = new RunFolder(result.run)
  const lines = (await readFile(run.metrics, 'utf8')).split('\n').filter(line => line !== '')
  const charts = chartsOf(lines.map(line => JSON.parse(line) as MetricsLine))
  const path = run.file('report.html')
  await writeFileAtomic(path, await page(result, charts, await readFile(run.config, 'utf8')))
  return path
}

/** One chart for each metric: training and validation share it where both have it. */
export function chartsOf(lines: readonly MetricsLine[]): Chart[] {
  const names = [...new Set(lines.flatMap(({ metrics }) => Object.keys(metrics)))].filter(
    name => name !== 'samples',
  )
  return names.map(name => {
    const measured = lines.filter(({ metrics }) => metrics[name] !== undefined)
    const steps = [...new Set(measured.map(({ step }) => step))].sort((a, b) => a - b)
    const splits = [...new Set(measured.map(({ split }) => split))]
    const series = splits.map(split => {
      const values = new Map(
        measured.filter(line => line.split === split).map(({ step, metrics }) => [step, metrics[name]!]),
      )
      return { label: split, values: steps.map(step => values.get(step) ?? null) }
    })
    return { title: name, steps, series }
  })
}

async function page(result: FinetuneResult, charts: readonly Chart[], config: string): Promise<string> {
  const folder = dirname(createRequire(import.meta.url).resolve('uplot/package.json'))
  const script = await readFile(join(folder, 'dist/uPlot.iife.min.js'), 'utf8')
  const style = await readFile(join(folder, 'dist/uPlot.min.css'), 'utf8')
  const { candidates, selected, snapshots, steps, recalibrated } = result
  const rows = candidates.map(({ name, step, metrics }) => {
    const cells = [TITLES[name] ?? name, String(step), metrics ? describeMetrics(metrics) : 'not validated']
    return `<tr${name === selected ? ' class="selected"' : ''}>${cells.map(cell => `<td>${escapeHtml(cell)}</td>`).join('')}</tr>`
  })
  const calibration = recalibrated
    ? `; ${recalibrated.sites} batch norms recalibrated on ${recalibrated.samples} samples`
    : ''
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>swa-onnx run</title>
<style>${style}
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
table { border-collapse: collapse } td, th { padding: .3rem 1rem .3rem 0; text-align: left; border-bottom: 1px solid #ddd }
.selected { font-weight: bold } pre { overflow: auto; background: #f6f6f6; padding: 1rem } h2 { margin-top: 2rem }</style>
<h1>Fine-tuning with Stochastic Weight Averaging</h1>
<p>${steps} steps; ${snapshots.length} snapshots averaged${calibration}. Delivered: ${escapeHtml(TITLES[selected] ?? selected)}.</p>
<table><tr><th>model</th><th>step</th><th>validation</th></tr>
${rows.join('\n')}
</table>
${engineLine(result)}<div id="charts"></div>
<details><summary>Plan</summary><pre>${escapeHtml(config)}</pre></details>
<script>${script}</script>
<script>
const colors = ['#1f6feb', '#d1242f']
for (const { title, steps, series } of ${JSON.stringify(charts).replaceAll('<', '\\u003c')}) {
  const heading = document.createElement('h2')
  heading.textContent = title
  const box = document.createElement('div')
  document.getElementById('charts').append(heading, box)
  const lines = series.map(({ label }, i) => ({ label, stroke: colors[i], width: 2, spanGaps: true, points: { show: true } }))
  const options = { width: Math.min(900, innerWidth - 40), height: 260, scales: { x: { time: false } }, series: [{ label: 'step' }, ...lines] }
  new uPlot(options, [steps, ...series.map(({ values }) => values)], box)
}
</script>
</html>
`
}

/** Whether the engine of the run and the CPU agree on the delivered model. */
function engineLine({ crossValidation }: FinetuneResult): string {
  if (crossValidation === null) return ''
  const { engine, reference, samples, relative, tolerance, agrees, parting } = crossValidation
  const verdict = agrees ? 'agree' : `differ${parting ? `, first at ${parting.node}` : ''}`
  const text = `${engine} and ${reference} ${verdict}: ${relative.toExponential(1)} of the output's scale on ${samples} samples (rounding: up to ${tolerance.toExponential(0)}).`
  return `<p${agrees ? '' : ' class="selected"'}>${escapeHtml(text)}</p>\n`
}

function escapeHtml(text: string): string {
  return text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;')
}
