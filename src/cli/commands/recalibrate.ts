/** `swa-onnx recalibrate model.onnx --data train -o out.onnx`: batch-norm statistics that fit the weights. */

import type { Argv } from 'yargs'
import { CPU } from '../../runtime/engines.ts'
import { runCommand, type CommonArguments } from '../command.ts'
import { askedEngine, openEngine } from '../engine.ts'
import {
  BATCH_NORM_OPTIONS,
  DATA_OPTIONS,
  dataOptions,
  ENGINE_OPTIONS,
  engineOptions,
  OUTPUT_OPTIONS,
  type DataArguments,
  type EngineArguments,
} from '../options.ts'
import { checkOutput, type OutputArguments } from '../output.ts'

interface RecalibrateArguments extends CommonArguments, DataArguments, EngineArguments, OutputArguments {
  readonly model: string
  readonly data: string
  readonly bnMode: 'exact' | 'torch'
}

export const command = 'recalibrate <model>'
export const describe = "recompute a model's batch-norm statistics from data"

export function builder(yargs: Argv): Argv {
  return yargs
    .positional('model', { type: 'string', demandOption: true, describe: 'the ONNX model' })
    .options({
      ...OUTPUT_OPTIONS,
      data: {
        type: 'string',
        demandOption: true,
        group: 'Data:',
        describe: 'training data: folder of class folders, IDX, npz, npy, class JSON',
      },
      ...DATA_OPTIONS,
      ...BATCH_NORM_OPTIONS,
      ...ENGINE_OPTIONS,
    })
    .example('$0 recalibrate averaged.onnx --data train -o served.onnx', 'after averaging')
    .example(
      '$0 recalibrate averaged.onnx --data train --limit 5000 --bn-mode torch -o served.onnx',
      'on a part of the data, as PyTorch does it',
    )
}

export async function handler(args: RecalibrateArguments): Promise<void> {
  const { model, data, out, bnMode } = args
  const asked = askedEngine(args, CPU)
  checkOutput(args, [model])
  const options = { model, data, out, mode: bnMode, dataOptions: dataOptions(args), ...engineOptions(args) }
  await runCommand(args, async ({ terminal, signal }) => {
    const { recalibrateModel } = await import('../../eval/recalibrate-model.ts')
    const { describeRecalibration } = await import('../../eval/report.ts')
    const { engine, used } = await openEngine(asked, terminal)
    const report = await recalibrateModel(engine, options, {
      signal,
      onProgress: (done, total) => terminal.progress({ label: 'recalibrate', done, total, unit: 'samples' }),
    })
    terminal.done()
    for (const note of report.notes) terminal.info(note)
    terminal.result(describeRecalibration(report), { ...report, engine: used })
  })
}
