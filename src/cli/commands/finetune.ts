/** `swa-onnx finetune model.onnx --data train`: the main job. */

import { existsSync } from 'node:fs'
import { join } from 'node:path'
import type { Argv } from 'yargs'
import type { FinetuneEvent } from '../../train/options.ts'
import type { EngineCheck } from '../../train/check-engine.ts'
import type { FinetuneResult, TrafficSummary } from '../../train/finish.ts'
import { UsageError } from '../../util/errors.ts'
import { formatBytes, formatTable } from '../../util/format.ts'
import { AUTO } from '../../runtime/engines.ts'
import { runCommand, type CommonArguments } from '../command.ts'
import { askedEngine, openEngine } from '../engine.ts'
import { FINETUNE_OPTIONS, finetuneOptions, type FinetuneArguments } from '../finetune-options/index.ts'
import type { Terminal } from '../terminal.ts'

export const command = 'finetune <model>'
export const describe = 'train a model further under the SWA schedule, and average what it passes through'

export function builder(yargs: Argv): Argv {
  return yargs
    .positional('model', { type: 'string', demandOption: true, describe: 'the ONNX model to start from' })
    .options(FINETUNE_OPTIONS)
    .example('$0 finetune model.onnx --data train --val val', 'image folders: train/<class>/*.jpg')
    .example(
      '$0 finetune model.onnx --data mnist.npz --epochs 20 --lr 0.02 --swa-start 0.75dur',
      'longer, SWA in the last quarter',
    )
    .example(
      '$0 finetune vit.onnx --data train --optimizer adamw --layer-decay 0.75 --head-only 1ep --clip-norm 1',
      'a transformer: a new head first, early layers slowly',
    )
    .example(
      '$0 finetune model.onnx --data train --batch-size 16 --accumulate 8 --ema 0.999',
      'steps of 128 samples; a moving average as one more candidate',
    )
    .example(
      '$0 finetune model.onnx --data train --swa-schedule cyclic --cycle 2ep --swa-lr 0.001',
      "the paper's cyclic schedule",
    )
}

export async function handler(args: CommonArguments & FinetuneArguments): Promise<void> {
  const options = finetuneOptions(args)
  const asked = askedEngine(args, AUTO, true)
  await runCommand(args, async ({ terminal, signal }) => {
    const { finetune, planRun } = await import('../../train/finetune.ts')
    if (args.dryRun) {
      const { engine } = await openEngine(asked, terminal)
      const plan = await planRun(engine, options)
      terminal.result(JSON.stringify(plan, null, 2), plan)
      return
    }
    if (args.resume && !existsSync(join(options.run, 'config.json'))) {
      throw new UsageError(`--resume: there is no run in ${options.run}`, {
        cure: 'name its folder with --run',
      })
    }
    const { engine, used } = await openEngine(asked, terminal)
    const { describeMetrics } = await import('../../eval/score.ts')
    const { writeReport } = await import('../../report/html.ts')
    const result = await finetune(engine, options, { onEvent: event => show(terminal, event), signal })
    const report = await writeReport(result)
    terminal.done()
    terminal.info(`report: ${report}`)
    terminal.result(describeResult(result, describeMetrics), { ...result, engine: used })
    if (result.swaIsBest === false) {
      terminal.warn(
        `the average is not the best on the validation data; delivered as asked: ${result.selected}`,
      )
    }
  })
}

function show(terminal: Terminal, event: FinetuneEvent): void {
  switch (event.kind) {
    case 'note': {
      terminal.info(event.message)
      return
    }
    case 'warning': {
      terminal.warn(event.message)
      return
    }
    case 'step': {
      const detail = `loss ${event.loss.toPrecision(4)}  lr ${event.lr.toPrecision(3)}`
      terminal.progress({
        label: 'train',
        done: event.step,
        total: event.steps,
        unit: 'steps',
        detail,
      })
      return
    }
    case 'validated': {
      terminal.info(`${event.what}: ${event.summary}`)
      return
    }
    case 'snapshot': {
      terminal.info(`snapshot ${event.count} after step ${event.step}`)
      return
    }
    case 'progress': {
      terminal.progress(event)
      return
    }
  }
}

const TITLES = {
  start: 'before training',
  last: 'last weights',
  best: 'best snapshot',
  ema: 'moving average',
  swa: 'SWA average',
} as const

function describeResult(
  result: FinetuneResult,
  describeMetrics: (metrics: NonNullable<FinetuneResult['candidates'][number]['metrics']>) => string,
): string {
  const rows = result.candidates.map(({ name, step, path, metrics }) => [
    name === result.selected ? '*' : ' ',
    TITLES[name],
    `step ${step}`,
    metrics ? describeMetrics(metrics) : 'not validated',
    path,
  ])
  const { recalibrated, snapshots, model, traffic, crossValidation } = result
  const lines = [formatTable(rows), '', `averaged ${snapshots.length} snapshots of ${result.steps} steps`]
  if (recalibrated)
    lines.push(`recalibrated ${recalibrated.sites} batch norms on ${recalibrated.samples} samples`)
  if (traffic) lines.push(`to the device and back: ${describeTraffic(traffic)}`)
  if (crossValidation) lines.push(describeCheck(crossValidation))
  lines.push(`delivered (*): ${model}`)
  return lines.join('\n')
}

function describeTraffic({ batchBytesPerStep, stateBytesPerStep, stepsPerRun }: TrafficSummary): string {
  const bytes = `${formatBytes(batchBytesPerStep)} of batches and ${formatBytes(stateBytesPerStep)} of state a step`
  return `${bytes}, ${stepsPerRun.toFixed(1)} steps a run`
}

function describeCheck({ engine, reference, samples, relative, tolerance, agrees }: EngineCheck): string {
  const difference = relative.toExponential(1)
  const verdict = agrees ? 'agree' : 'DIFFER'
  return `${engine} and ${reference} ${verdict} on ${samples} samples: ${difference} of the output's scale, ${tolerance.toExponential(0)} is taken for rounding`
}
