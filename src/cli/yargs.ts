/** The parser, exported so that parsing is tested without a process. */

import yargs, { type Argv, type CommandModule } from 'yargs'
import { UsageError } from '../util/errors.ts'
import { VERSION } from '../util/version.ts'
import { checkWords } from './check-words.ts'
import * as average from './commands/average.ts'
import * as browser from './commands/browser.ts'
import * as doctor from './commands/doctor.ts'
import * as evaluate from './commands/evaluate.ts'
import * as finetune from './commands/finetune.ts'
import * as inspect from './commands/inspect.ts'
import * as recalibrate from './commands/recalibrate.ts'
import * as serve from './commands/serve.ts'
import * as sample from './commands/sample.ts'
import { REPEATABLE } from './options.ts'

const EPILOGUE = `Times are written as 0.8dur (share of the run), 3ep (epochs), 500ba (batches) or 20000sp (samples).
Exit codes: 0 done, 1 internal error, 2 bad usage, 3 bad input, 4 environment, 5 a check failed, 130 interrupted with state saved.`

/** What every file in commands/ exports. */
interface CommandFile {
  readonly command: string
  readonly describe: string
  readonly builder: NonNullable<CommandModule['builder']>
  /** Takes what its builder declares, which the type of a yargs module cannot say of modules in a list. */
  readonly handler: (args: never) => Promise<void>
}

const COMMANDS: readonly CommandFile[] = [
  finetune,
  average,
  recalibrate,
  evaluate,
  sample,
  inspect,
  serve,
  doctor,
  browser,
]

/** What yargs says in words of its own, in ours. */
const MESSAGES = {
  'Did you mean %s?': 'unknown command; did you mean %s?',
  'Unknown argument: %s': {
    one: 'unknown option or argument: %s',
    other: 'unknown options or arguments: %s',
  },
  'Unknown command: %s': { one: 'unknown command: %s', other: 'unknown commands: %s' },
  'Missing required argument: %s': { one: 'missing option: --%s', other: 'missing options: --%s' },
  'Not enough non-option arguments: got %s, need at least %s': {
    one: 'a file is missing: found %s, expected at least %s',
    other: 'a file is missing: found %s, expected at least %s',
  },
} as unknown as Record<string, string>

/** All commands; each file in commands/ is one yargs module. */
export function buildYargs(argv: readonly string[]): Argv {
  const named = COMMANDS.map(({ command }) => command.split(' ')[0]!).find(name => name === argv[0])
  const cure = named ? `see \`swa-onnx ${named} --help\`` : 'see `swa-onnx --help`'
  const parser = yargs([...argv])
    .scriptName('swa-onnx')
    .usage('$0 <command>\n\nMakes a trained ONNX model better with Stochastic Weight Averaging.')
    .locale('en')
    .updateStrings(MESSAGES)
    .version(VERSION)
    .option('json', {
      type: 'boolean',
      default: false,
      describe: 'print the result as one JSON document',
      global: true,
    })
    .check(checkValues)
    .demandCommand(1, 'name a command')
    .recommendCommands()
    .strict()
    .wrap(Math.min(110, process.stdout.columns || 100))
    .epilogue(EPILOGUE)
    .fail((message, error) => {
      // yargs types `error` as always there; it is absent for its own complaints, or of a class of its own.
      const thrown = error as Error | undefined
      if (thrown && thrown.name !== 'YError') throw thrown
      throw new UsageError((thrown?.message ?? message).replaceAll('\n', ' '), { cure })
    })
  // Before yargs complains of what it made of the words.
  parser.middleware(() => checkWords(parser, argv), true)
  for (const command of COMMANDS) parser.command(command as CommandModule)
  return parser
}

/** What yargs lets through: numbers that are none, texts that are empty, options given twice. */
function checkValues(args: Readonly<Record<string, unknown>>): true {
  for (const [name, value] of Object.entries(args)) {
    if (name === '_' || name === '$0') continue
    if (typeof value === 'number' && Number.isNaN(value)) {
      throw new UsageError(`--${name}: expected a number`)
    }
    if (value === '') throw new UsageError(`--${name}: expected a value, found nothing`)
    if (Array.isArray(value) && value.length > 1 && !REPEATABLE.has(name)) {
      throw new UsageError(`--${name}: expected once, found ${value.length} times: ${value.join(', ')}`)
    }
  }
  return true
}
