/** Options that several commands share, as tables by category, and their way into library options. */

import type { Options } from 'yargs'
import type { PresetName, Split, TargetChoice, TargetKind } from '../data/index.ts'
import type { DataOptions } from '../eval/loading.ts'
import type { WeightPatterns } from '../passes/index.ts'
import { AUTO, CPU, engineWords } from '../runtime/engines.ts'
import { UsageError } from '../util/errors.ts'

/** Arguments of which there may be many; any other given twice is a mistake. */
export const REPEATABLE: ReadonlySet<string> = new Set([
  'train',
  'freeze',
  'constant',
  'input',
  'lr-of',
  'weight-decay-of',
  'head-only-train',
  'models',
  'checkpoints',
  'map',
  'ignore',
  'allow-host',
  'watch',
  'canary',
  'shadow',
])

export const DATA_OPTIONS = {
  split: {
    choices: ['train', 'val', 'test'] as const,
    group: 'Data:',
    describe: 'which part of the data; data without parts are split by --hold-out and --seed',
  },
  'hold-out': {
    type: 'number',
    default: 0.1,
    group: 'Data:',
    describe: 'share that is the val part of data that have none',
  },
  limit: { type: 'number', group: 'Data:', describe: 'at most so many samples, balanced over the classes' },
  seed: { type: 'number', default: 0, group: 'Data:', describe: 'seed of splits, limit and order' },
  inputs: {
    type: 'string',
    group: 'Data:',
    describe: 'npz, npy: names of the input arrays, in the order of the model inputs: a,b',
  },
  targets: {
    type: 'string',
    group: 'Data:',
    describe:
      'npz: name of the array of targets, or one for each output: a,b in their order, or OUTPUT=a,OUTPUT=b; npy, IDX: path of the file of targets',
  },
  'target-kind': {
    choices: ['class', 'multilabel', 'values'] as const,
    group: 'Data:',
    describe:
      'npz, npy: whether targets are classes, yes or no for each class, or numbers to be predicted (default: whole numbers and one-hot rows are classes)',
  },
  'mask-values': {
    type: 'string',
    group: 'Data:',
    describe: 'folders images and masks: the numbers in the masks that are classes 0, 1, ...: 0,255',
  },
  tokenizer: {
    type: 'string',
    group: 'Data:',
    describe: 'tables with text: tokenizer.json, or the folder of it, as Hugging Face writes it',
  },
  'text-columns': {
    type: 'string',
    group: 'Data:',
    describe:
      'tables: the column of texts or words, or two columns of pairs (default: text, sentence, ...): a,b',
  },
  input: {
    type: 'string',
    array: true,
    nargs: 1,
    group: 'Data:',
    describe: 'tables: the columns of numbers that a model input takes, once for each input: NAME=a,b,c',
  },
  'label-columns': {
    type: 'string',
    group: 'Data:',
    describe: 'tables: the column of labels, or several of numbers (default: label, target, ...)',
  },
  'max-length': {
    type: 'number',
    group: 'Data:',
    describe:
      'tables with text: tokens of a sample (default: what the model takes, else the longest, up to 512)',
  },
  'class-names': {
    type: 'string',
    group: 'Data:',
    describe:
      'names of classes 0, 1, ... as the model has them (default: those of the data, sorted): cat,dog',
  },
  size: {
    type: 'string',
    group: 'Data:',
    describe: 'height x width of images, where the model leaves them open: 48x192, or 224',
  },
  preset: {
    choices: ['imagenet', 'mnist', 'none'] as const,
    group: 'Data:',
    describe: 'normalisation of images (default: imagenet for 3 channels, mnist for 28x28)',
  },
  mean: {
    type: 'string',
    group: 'Data:',
    describe: 'normalisation by hand, of pixels in [0,1]: one number, or one a channel: 0.5 or 0.4,0.5,0.6',
  },
  std: { type: 'string', group: 'Data:', describe: 'goes with --mean' },
} as const satisfies Record<string, Options>

/**
 * Measuring and writing models is done on the CPU unless something else is asked for: it is there on every machine, so
 * the same command gives the same figures and the same file everywhere.
 */
export const ENGINE_OPTIONS = {
  engine: {
    type: 'string',
    group: 'Engine:',
    describe: `what runs the model: ${engineWords()} (default: ${CPU}); \`swa-onnx doctor\` shows what works here`,
  },
  precision: {
    type: 'string',
    group: 'Engine:',
    describe:
      'arithmetic of matrix products on a GPU that knows both: float32, or tf32, which is faster (default: what the engine does by itself)',
  },
  threads: { type: 'number', group: 'Engine:', describe: 'threads of the engine (default: all cores)' },
  'batch-size': { type: 'number', default: 32, group: 'Engine:', describe: 'samples of one run' },
} as const satisfies Record<string, Options>

/** Training takes hours on a CPU and minutes on a GPU, and a run stays on the engine that it began on. */
export const TRAINING_ENGINE_OPTIONS = {
  engine: {
    ...ENGINE_OPTIONS.engine,
    describe: `what trains: ${engineWords()} (default: ${AUTO}, the fastest that works here); \`swa-onnx doctor\` shows which`,
  },
  precision: {
    ...ENGINE_OPTIONS.precision,
    describe:
      'arithmetic of matrix products: float32; tf32, which is faster on GPUs that know it; or float16, mixed precision with loss scaling (default: what the engine does by itself)',
  },
  threads: ENGINE_OPTIONS.threads,
} as const satisfies Record<string, Options>

export const OUTPUT_OPTIONS = {
  out: {
    alias: 'o',
    type: 'string',
    demandOption: true,
    group: 'Output:',
    describe: 'the file to write',
  },
  force: {
    type: 'boolean',
    default: false,
    group: 'Output:',
    describe: 'overwrite the output if it exists',
  },
} as const satisfies Record<string, Options>

export const BATCH_NORM_OPTIONS = {
  'bn-mode': {
    choices: ['exact', 'torch'] as const,
    default: 'exact' as const,
    group: 'Batch normalization:',
    describe: 'exact: pooled over all samples; torch: as torch.optim.swa_utils.update_bn',
  },
} as const satisfies Record<string, Options>

export const WEIGHT_OPTIONS = {
  train: {
    type: 'string',
    array: true,
    nargs: 1,
    group: 'Weights:',
    describe:
      'train weights of matching names (* and ? stand for text), though they look constant or are frozen',
  },
  freeze: {
    type: 'string',
    array: true,
    nargs: 1,
    group: 'Weights:',
    describe: 'freeze weights of matching names; a new head only by a pattern that matches nothing else',
  },
  constant: {
    type: 'string',
    array: true,
    nargs: 1,
    group: 'Weights:',
    describe: 'leave weights of matching names alone',
  },
} as const satisfies Record<string, Options>

/** What yargs makes of DATA_OPTIONS. */
export interface DataArguments {
  readonly split?: Split | undefined
  readonly holdOut: number
  readonly limit?: number | undefined
  readonly seed: number
  readonly inputs?: string | undefined
  readonly targets?: string | undefined
  readonly targetKind?: TargetKind | undefined
  readonly maskValues?: string | undefined
  readonly classNames?: string | undefined
  readonly tokenizer?: string | undefined
  readonly textColumns?: string | undefined
  readonly input?: readonly string[] | undefined
  readonly labelColumns?: string | undefined
  readonly maxLength?: number | undefined
  readonly size?: string | undefined
  readonly preset?: PresetName | undefined
  readonly mean?: string | undefined
  readonly std?: string | undefined
}

/** What yargs makes of ENGINE_OPTIONS. */
export interface EngineArguments {
  readonly engine?: string | undefined
  readonly precision?: string | undefined
  readonly threads?: number | undefined
  readonly batchSize: number
}

/** What yargs makes of WEIGHT_OPTIONS. */
export interface WeightArguments {
  readonly train?: readonly string[] | undefined
  readonly freeze?: readonly string[] | undefined
  readonly constant?: readonly string[] | undefined
}

/** Which samples, and what becomes of them on the way to the model. */
export function dataOptions(args: DataArguments & { readonly ignoreIndex?: number }): DataOptions {
  const { split, targetKind, preset, mean, std, size, inputs, limit, classNames, ignoreIndex } = args
  if ((mean === undefined) !== (std === undefined)) {
    throw new UsageError(`--${mean === undefined ? 'std' : 'mean'}: expected --mean and --std together`)
  }
  return {
    holdOut: inRange('--hold-out', args.holdOut, 0, 0.9),
    seed: natural('--seed', args.seed),
    ...given({
      split,
      targets: args.targets === undefined ? undefined : parseTargets(args.targets),
      targetKind,
      maskValues: args.maskValues === undefined ? undefined : parseLevels(args.maskValues),
      ignoreIndex,
      preset,
      tokenizer: args.tokenizer,
      maxLength: args.maxLength === undefined ? undefined : whole('--max-length', args.maxLength),
      textColumns:
        args.textColumns === undefined ? undefined : parseNames('--text-columns', args.textColumns),
      inputColumns: args.input === undefined ? undefined : parseColumns(args.input),
      labelColumns:
        args.labelColumns === undefined ? undefined : parseNames('--label-columns', args.labelColumns),
      limit: limit === undefined ? undefined : whole('--limit', limit),
      inputs: inputs === undefined ? undefined : parseNames('--inputs', inputs),
      classNames: classNames === undefined ? undefined : parseNames('--class-names', classNames),
      size: size === undefined ? undefined : parseSize(size),
      mean: mean === undefined ? undefined : parseNumbers('--mean', mean),
      std: std === undefined ? undefined : parseNumbers('--std', std).map(checkDeviation),
    }),
  }
}

/** Threads and batch size. */
export function engineOptions({ threads, batchSize }: EngineArguments): {
  threads?: number
  batchSize: number
} {
  return {
    batchSize: whole('--batch-size', batchSize),
    ...(threads === undefined ? {} : { threads: whole('--threads', threads) }),
  }
}

export function weightPatterns({ train, freeze, constant }: WeightArguments): WeightPatterns {
  return given({ train, freeze, constant })
}

/** The entries that are there: libraries tell an absent option from `undefined`. */
export function given<T extends object>(options: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  const entries = Object.entries(options).filter(([, value]) => value !== undefined)
  return Object.fromEntries(entries) as { [K in keyof T]?: Exclude<T[K], undefined> }
}

function parseNames(option: string, text: string): string[] {
  const names = text.split(',').map(name => name.trim())
  if (names.every(name => name !== '') && new Set(names).size === names.length) return names
  throw new UsageError(`${option}: expected different names separated by commas, found "${text}"`)
}

/** `name=a,b` for each input. */
function parseColumns(texts: readonly string[]): Record<string, readonly string[]> {
  const inputs = texts.map(text => {
    const at = text.lastIndexOf('=')
    if (at > 0) return [text.slice(0, at).trim(), parseNames('--input', text.slice(at + 1))] as const
    throw new UsageError(`--input: expected NAME=a,b, the columns of a model input, found "${text}"`)
  })
  const columns = Object.fromEntries(inputs)
  if (Object.keys(columns).length === texts.length) return columns
  throw new UsageError(`--input: expected each input once, found ${texts.join(' ')}`)
}

/** A name or a path; `a,b` in the order of the outputs; `one=a,two=b` by their names. */
function parseTargets(text: string): string | readonly TargetChoice[] {
  if (!/[,=]/.test(text) || /[\\/]/.test(text)) return text
  const parts = parseNames('--targets', text)
  const choices = parts.map((part, position): TargetChoice => {
    const at = part.lastIndexOf('=')
    return { array: part.slice(at + 1).trim(), output: at < 0 ? position : part.slice(0, at).trim() }
  })
  const kinds = new Set(choices.map(({ output }) => typeof output))
  const different = (key: keyof TargetChoice) => new Set(choices.map(choice => choice[key])).size
  const whole = choices.every(({ array, output }) => array !== '' && output !== '')
  if (
    whole &&
    kinds.size === 1 &&
    different('array') === parts.length &&
    different('output') === parts.length
  )
    return choices
  throw new UsageError(
    `--targets: expected different arrays such as a,b, or OUTPUT=a,OUTPUT=b, found "${text}"`,
  )
}

/** Numbers that pixels of masks can hold. */
function parseLevels(text: string): number[] {
  const levels = parseNumbers('--mask-values', text)
  const fits = levels.every(level => Number.isInteger(level) && level >= 0 && level < 65536)
  if (fits && new Set(levels).size === levels.length) return levels
  throw new UsageError(
    `--mask-values: expected different whole numbers from 0 to 65535, such as 0,255, found "${text}"`,
  )
}

/** `1,2.5` -> [1, 2.5]. */
export function parseNumbers(option: string, text: string): number[] {
  const numbers = text.split(',').map(part => (part.trim() === '' ? NaN : Number(part)))
  if (numbers.every(Number.isFinite)) return numbers
  throw new UsageError(`${option}: expected numbers separated by commas, found "${text}"`)
}

function checkDeviation(value: number): number {
  if (value > 0) return value
  throw new UsageError(`--std: expected positive numbers, found ${value}`)
}

/** `48x192` or `224`: height, then width. */
function parseSize(text: string): { height: number; width: number } {
  const [, height, width = height] = /^(\d{1,5})(?:x(\d{1,5}))?$/i.exec(text) ?? []
  const size = { height: Number(height), width: Number(width) }
  if (size.height > 0 && size.width > 0) return size
  throw new UsageError(`--size: expected height x width such as 48x192, or one side, found "${text}"`)
}

export function inRange(option: string, value: number, low: number, high: number): number {
  if (value >= low && value <= high) return value
  throw new UsageError(`${option}: expected a number from ${low} to ${high}, found ${value}`)
}

/** A positive whole number. */
export function whole(option: string, value: number): number {
  if (Number.isSafeInteger(value) && value > 0) return value
  throw new UsageError(`${option}: expected a positive whole number, found ${value}`)
}

/** Zero or a positive whole number. */
function natural(option: string, value: number): number {
  if (Number.isSafeInteger(value) && value >= 0) return value
  throw new UsageError(`${option}: expected a whole number of 0 or more, found ${value}`)
}
