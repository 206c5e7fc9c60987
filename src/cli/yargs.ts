/** The parser, exported so that parsing is tested without a process. */

import yargs, { type Argv } from 'yargs'
import { UsageError } from '../util/errors.ts'
import * as average from './commands/average.ts'
import * as doctor from './commands/doctor.ts'
import * as evaluate from './commands/evaluate.ts'
import * as finetune from './commands/finetune.ts'
import * as inspect from './commands/inspect.ts'
import * as recalibrate from './commands/recalibrate.ts'

const EPILOGUE = `Times are written as 0.8dur (share of the run), 3ep (epochs), 500ba (batches) or 20000sp (samples).
Exit codes: 0 done, 1 internal error, 2 bad usage, 3 bad input, 4 environment, 130 interrupted with state saved.`

/** All commands; each file in commands/ is one yargs module. */
export function buildYargs(argv: readonly string[]): Argv {
  return yargs([...argv])
    .scriptName('swa-onnx')
    .usage('$0 <command>\n\nMakes a trained ONNX model better with Stochastic Weight Averaging.')
    .command(finetune)
    .command(average)
    .command(recalibrate)
    .command(evaluate)
    .command(inspect)
    .command(doctor)
    .option('json', {
      type: 'boolean',
      default: false,
      describe: 'print the result as one JSON document',
      global: true,
    })
    .demandCommand(1, 'name a command')
    .recommendCommands()
    .strict()
    .wrap(Math.min(110, process.stdout.columns || 100))
    .epilogue(EPILOGUE)
    .fail((message, error) => {
      // yargs types `error` as always there; it is absent for its own complaints.
      throw (
        (error as Error | undefined) ??
        new UsageError(message, { cure: 'see `swa-onnx --help`, or `swa-onnx <command> --help`' })
      )
    })
}
