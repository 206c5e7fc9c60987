/** The report of a run: charts from the log, everything escaped, nothing from the network. */

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { chartsOf, writeReport } from '../../src/report/html.ts'
import type { FinetuneResult } from '../../src/train/finish.ts'

const line = (step: number, split: 'train' | 'val', metrics: Record<string, number>) => ({
  step,
  epoch: 1,
  split,
  metrics,
})

test('one chart a metric; training and validation share steps', () => {
  const charts = chartsOf([
    line(2, 'train', { loss: 1, lr: 0.1 }),
    line(2, 'val', { loss: 2, top1: 0.5, samples: 10 }),
    line(4, 'train', { loss: 0.5, lr: 0.05 }),
  ])
  assert.equal(charts, [
    {
      title: 'loss',
      steps: [2, 4],
      series: [
        { label: 'train', values: [1, 0.5] },
        { label: 'val', values: [2, null] },
      ],
    },
    { title: 'lr', steps: [2, 4], series: [{ label: 'train', values: [0.1, 0.05] }] },
    { title: 'top1', steps: [2], series: [{ label: 'val', values: [0.5] }] },
  ])
})

test('the page stands alone and shows hostile names as text', async () => {
  const run = mkdtempSync(join(tmpdir(), 'swa-report-'))
  try {
    writeFileSync(join(run, 'metrics.jsonl'), `${JSON.stringify(line(1, 'train', { '</script><b>': 1 }))}\n`)
    writeFileSync(join(run, 'config.json'), '{"model":"<img src=x onerror=alert(1)>"}')
    const metrics = { samples: 10, loss: 0.25, top1: 0.9 }
    const result: FinetuneResult = {
      run,
      steps: 1,
      snapshots: [1],
      candidates: [{ name: 'swa', path: 'x', step: 1, metrics }],
      selected: 'swa',
      model: 'm',
      swaIsBest: true,
      recalibrated: null,
      traffic: null,
      crossValidation: null,
    }
    const html = readFileSync(await writeReport(result), 'utf8')
    assert.match(html, 'top-1 90.00 %, loss 0.2500')
    assert.not.match(html, '<img')
    assert.not.match(html, '</script><b>')
    assert.not.match(html, /(src|href)="https?:/)
    assert.ok(html.length < 100_000, `${html.length} characters`)
  } finally {
    rmSync(run, { recursive: true })
  }
})

test.run()
