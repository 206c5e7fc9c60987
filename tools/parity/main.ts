/**
 * Gradient parity of named architectures: PyTorch exports them in every way that people do, our training program computes
 * the gradient of every parameter, and each tensor is compared with PyTorch's.
 *
 *     PYTHON=venv/bin/python npm run parity -- resnet18 timm/vit_tiny_patch16_224 transformers/bert
 *     ... npm run parity -- --exporters ts17,dynamo --json results.jsonl --no-time convnext_tiny
 *
 * Without names: those of tools/fixtures/architectures.txt. tools/fixtures/README.md says what the columns mean.
 */

import { appendFileSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { cpuEngine } from '../../src/runtime/ort-cpu/engine.ts'
import { writeSafetensors } from '../../src/serde/index.ts'
import { messageOf } from '../../src/util/errors.ts'
import { median } from '../bench/side.ts'
import { openOurs, readBatch, type Opened } from './ours.ts'
import { HEADER, line, type Row } from './row.ts'
import { Torch, type Answers } from './torch.ts'

const LIST = join(import.meta.dirname, '../fixtures/architectures.txt')
const EXPORTERS = ['ts13', 'ts17', 'ts17-eval', 'dynamo', 'dynamo-eval']
/** ||g − g_ref|| / ||g_ref|| of every tensor. */
const TOLERANCE = 1e-4
const WARM_UP = 1

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  allowNegative: true,
  options: {
    exporters: { type: 'string', default: EXPORTERS.join() },
    json: { type: 'string' },
    time: { type: 'boolean', default: true },
    steps: { type: 'string', default: '3' },
    batch: { type: 'string', default: '4' },
    /** Batches that are tried: a pre-activation within rounding of a kink moves whole gradients. */
    seeds: { type: 'string', default: '4' },
    threads: { type: 'string', default: '1' },
    verbose: { type: 'boolean', default: false },
  },
})

const folder = mkdtempSync(join(tmpdir(), 'swa-onnx-parity-'))
const engine = cpuEngine()
const threads = Number(options.threads)
const torch = new Torch(folder, { batch: Number(options.batch), threads, log: join(folder, 'python.log') })

function names(): string[] {
  if (positionals.length > 0) return positionals
  const lines = readFileSync(LIST, 'utf8').split('\n')
  return lines.map(text => text.replace(/#.*/, '').trim()).filter(text => text !== '')
}

/** One architecture by one exporter; null where the export would be another's double. */
async function compare(exporter: string, about: Answers['open']): Promise<Row | null> {
  const base = { name: about.name, exporter, parameters: about.parameters, batch: Number(options.batch) }
  let opened: Opened | null = null
  let exported: Answers['export'] | null = null
  try {
    exported = await torch.ask('export', { variant: exporter })
    if (exported.nodes === 0) return null
    const { nodes, operators, statistics } = exported
    let best: (Answers['compare'] & { seed: number }) | null = null
    for (let seed = 0; seed < Number(options.seeds); seed++) {
      await torch.ask('batch', { seed })
      const batch = await readBatch(join(folder, 'batch.safetensors'))
      opened ??= await openOurs(engine, join(folder, 'model.onnx'), batch, { statistics, threads })
      await writeSafetensors(join(folder, 'gradients.safetensors'), await opened.gradients(batch), new Map())
      const found = { ...(await torch.ask('compare', { variant: exporter })), seed }
      if (!best || worst(found) < worst(best)) best = found
      if (worst(best) <= TOLERANCE || best.missing.length > 0) break
    }
    const { rows, missing, extra, torch: torchError, reference, seed, unreached } = best!
    const failed =
      missing.length > 0 ? `no gradient for ${missing.length}: ${missing.slice(0, 3).join(', ')}` : null
    const above = rows.filter(row => row.error > TOLERANCE)
    return {
      ...base,
      ...{ nodes, operators, statistics, reference, seed },
      ok: failed === null && above.length === 0,
      tensors: rows.length,
      zeros: rows.filter(row => row.zero).length,
      unreached,
      error: rows[0]?.error ?? 0,
      tensor: rows[0]?.tensor ?? '',
      strictError: Math.max(0, ...rows.map(row => row.strict)),
      torchError,
      above: above.slice(0, 8),
      extra,
      buildMs: Math.round(opened!.buildMs),
      ...(options.time ? await times(opened!, exporter) : {}),
      message: failed,
    }
  } catch (error) {
    const { nodes = 0, operators = [] } = exported ?? {}
    const message = exported ? messageOf(error) : `PyTorch: ${messageOf(error).split('\n')[0]!.slice(0, 160)}`
    return { ...base, nodes, operators, ok: false, message }
  } finally {
    await opened?.close()
  }
}

function worst(found: Answers['compare']): number {
  return found.rows[0]?.error ?? 0
}

/** Median milliseconds of a step on both sides, taking turns. */
async function times(opened: Opened, variant: string): Promise<{ oursMs: number; torchMs: number }> {
  const batch = await readBatch(join(folder, 'batch.safetensors'))
  const sides: [number[], number[]] = [[], []]
  for (let i = 0; i < WARM_UP + Number(options.steps); i++) {
    sides[0].push(await opened.step(batch))
    sides[1].push((await torch.ask('step', { variant })).ms)
  }
  const [oursMs, torchMs] = sides.map(values => Number(median(values.slice(WARM_UP)).toPrecision(4))) as [
    number,
    number,
  ]
  return { oursMs, torchMs }
}

function report(row: Row): void {
  console.log(line(row, options.verbose))
  if (options.json) appendFileSync(options.json, `${JSON.stringify(row)}\n`)
}

async function main(): Promise<void> {
  console.log(HEADER)
  const results: Row[] = []
  for (const name of names()) {
    let about: Answers['open']
    try {
      about = await torch.ask('open', { name })
    } catch (error) {
      report({
        name,
        exporter: '-',
        parameters: 0,
        nodes: 0,
        operators: [],
        ok: false,
        message: messageOf(error),
      })
      continue
    }
    for (const exporter of options.exporters.split(',')) {
      const row = await compare(exporter, about)
      if (!row) continue
      results.push(row)
      report(row)
    }
  }
  await torch.close()
  const made = results.filter(row => row.nodes > 0)
  const [good, all] = [made.filter(row => row.ok), made].map(rows => new Set(rows.map(row => row.name)))
  const failed = new Set(made.filter(row => !row.ok).map(row => row.name))
  console.log(
    `${made.filter(row => row.ok).length} of ${made.length} exports at parity (${results.length - made.length} more could not be exported): ` +
      `${good!.size} of ${all!.size} architectures by an exporter, ${all!.size - failed.size} by every one`,
  )
}

try {
  await main()
} finally {
  rmSync(folder, { recursive: true, force: true })
}
