/** `swa-onnx evaluate model.onnx... --data val`: models side by side on labelled data. */

import type { Argv } from 'yargs'
import { runCommand, type CommonArguments } from '../command.ts'
import {
  DATA_OPTIONS,
  dataOptions,
  ENGINE_OPTIONS,
  engineOptions,
  given,
  type DataArguments,
  type EngineArguments,
} from '../options.ts'

interface EvaluateArguments extends CommonArguments, DataArguments, EngineArguments {
  readonly models: readonly string[]
  readonly data: string
  readonly output?: string
}

export const command = 'evaluate <models..>'
export const describe = 'measure models on labelled data, side by side'

export function builder(yargs: Argv): Argv {
  return yargs
    .positional('models', { type: 'string', demandOption: true, describe: 'ONNX models' })
    .options({
      data: {
        type: 'string',
        demandOption: true,
        group: 'Data:',
        describe: 'labelled data: folder of class folders, IDX, npz, npy, class JSON',
      },
      ...DATA_OPTIONS,
      output: {
        type: 'string',
        group: 'Engine:',
        describe: 'model output to measure (default: the only one)',
      },
      ...ENGINE_OPTIONS,
    })
    .example('$0 evaluate model.onnx averaged.onnx --data val', 'which of two is better')
    .example(
      '$0 evaluate angle.onnx --data lines --size 48x192 --mean 0.5 --std 0.5',
      'images of another size and normalisation',
    )
    .example('$0 evaluate model.onnx --data mnist.npz --split test --json', 'for a script')
}

export async function handler(args: EvaluateArguments): Promise<void> {
  const { models, data, output } = args
  const options = {
    models,
    data,
    dataOptions: dataOptions(args),
    ...engineOptions(args),
    ...given({ output }),
  }
  await runCommand(args, async ({ terminal, signal }) => {
    const { evaluateModels } = await import('../../eval/compare.ts')
    const { describeEvaluation } = await import('../../eval/report.ts')
    const { cpuEngine } = await import('../../runtime/ort-cpu/engine.ts')
    const report = await evaluateModels(cpuEngine(), options, {
      signal,
      onProgress: (model, done, total) =>
        terminal.progress({ label: `evaluate ${model}`, done, total, unit: 'samples' }),
    })
    terminal.done()
    for (const note of report.notes) terminal.info(note)
    terminal.result(describeEvaluation(report), report)
  })
}
