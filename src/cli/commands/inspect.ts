/** `swa-onnx inspect model.onnx`: what is in a model, and what fine-tuning would make of it. */

import type { Argv } from 'yargs'
import { runCommand, type CommonArguments } from '../command.ts'
import { given, WEIGHT_OPTIONS, weightPatterns, type WeightArguments } from '../options.ts'

interface InspectArguments extends CommonArguments, WeightArguments {
  readonly model: string
  readonly weights: boolean
  readonly output?: string
}

export const command = 'inspect <model>'
export const describe = 'show what is in a model: operators, weights and their roles, batch norms, obstacles'

export function builder(yargs: Argv): Argv {
  return yargs
    .positional('model', { type: 'string', demandOption: true, describe: 'the ONNX model' })
    .options({
      weights: {
        type: 'boolean',
        default: false,
        group: 'Weights:',
        describe: 'list every tensor with what is done to it, and why',
      },
      ...WEIGHT_OPTIONS,
      output: { type: 'string', describe: 'model output that a loss attaches to (default: the only one)' },
    })
    .example('$0 inspect model.onnx', 'can it be fine-tuned?')
    .example("$0 inspect model.onnx --weights --freeze 'stem.*'", 'which weights train under a pattern')
    .example('$0 inspect model.onnx --json', 'everything, weights included')
}

export async function handler(args: InspectArguments): Promise<void> {
  const { model, weights, output } = args
  await runCommand(args, async ({ terminal }) => {
    const { inspectModel } = await import('../../eval/inspect.ts')
    const { describeInspection } = await import('../../eval/report.ts')
    const inspection = await inspectModel(model, { patterns: weightPatterns(args), ...given({ output }) })
    terminal.result(describeInspection(inspection, { weights }), inspection)
  })
}
