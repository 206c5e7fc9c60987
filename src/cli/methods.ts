/** The options that say how members become one model. */

import type { Options } from 'yargs'
import type { AverageOptions, Method, MethodKind } from '../averaging/index.ts'
import type { SoupKind } from '../eval/soup.ts'
import { UsageError } from '../util/errors.ts'
import { given, parseNumbers } from './options.ts'

const KINDS = [
  'mean',
  'ema',
  'trimmed',
  'median',
  'interpolate',
  'slerp',
  'task',
  'ties',
  'dare',
  'swag',
] as const satisfies readonly MethodKind[]

export const METHOD_OPTIONS = {
  method: {
    choices: KINDS,
    default: 'mean' as const,
    group: 'Method:',
    describe:
      'mean (SWA); ema: moving average; trimmed, median: robust means; interpolate, slerp: between two models; task, ties, dare: differences to --base; swag: a Gaussian to draw models from with `swa-onnx sample`',
  },
  weights: {
    type: 'string',
    group: 'Method:',
    describe: 'mean: how much each file counts, in any ratio: 1,1,2 (default: equal)',
  },
  last: {
    type: 'number',
    group: 'Method:',
    describe: 'only so many members, those of the greatest numbers in their names (LAWA)',
  },
  decay: { type: 'number', group: 'Method:', describe: 'ema: what is kept at each member (default: 0.9)' },
  'decay-warmup': {
    type: 'boolean',
    group: 'Method:',
    describe: 'ema: decay at most 1 - k^(-2/3) at member k, as timm',
  },
  trim: {
    type: 'number',
    group: 'Method:',
    describe:
      'trimmed: numbers left out at each end of every place (default: a tenth of the members, 1 at least)',
  },
  at: {
    type: 'number',
    group: 'Method:',
    describe:
      'interpolate, slerp: 0 is the first model, 1 the second; beyond is extrapolation (default: 0.5)',
  },
  base: {
    type: 'string',
    group: 'Method:',
    describe: 'task, ties, dare: the model that the members were fine-tuned from',
  },
  scale: {
    type: 'number',
    group: 'Method:',
    describe:
      'task, ties, dare: factor of what is added to the base (default: 1 / members; ties, which averages: 1)',
  },
  density: {
    type: 'number',
    group: 'Method:',
    describe: 'ties: share of the differences of each tensor that is kept, the largest (default: 0.2)',
  },
  drop: {
    type: 'number',
    group: 'Method:',
    describe: 'dare: share of the differences that is left out at random, by --seed (default: 0.5)',
  },
  rank: {
    type: 'number',
    group: 'Method:',
    describe: 'swag: deviations that are kept, of the last members (default: 20)',
  },
  soup: {
    choices: ['greedy', 'best'] as const,
    group: 'Method:',
    describe:
      'average only members that are best together on --val: greedy, one after the other; best, the best subset',
  },
} as const satisfies Record<string, Options>

/** What yargs makes of METHOD_OPTIONS. */
export interface MethodArguments {
  readonly checkpoints: readonly string[]
  readonly seed: number
  readonly method: (typeof KINDS)[number]
  readonly weights?: string
  readonly last?: number
  readonly decay?: number
  readonly decayWarmup?: boolean
  readonly trim?: number
  readonly at?: number
  readonly base?: string
  readonly scale?: number
  readonly density?: number
  readonly drop?: number
  readonly rank?: number
  readonly soup?: SoupKind
}

/** Options that belong to some methods only, by their names on the command line. */
const OF_METHODS: Readonly<Partial<Record<keyof MethodArguments, readonly MethodKind[]>>> = {
  weights: ['mean'],
  decay: ['ema'],
  decayWarmup: ['ema'],
  trim: ['trimmed'],
  at: ['interpolate', 'slerp'],
  base: ['task', 'ties', 'dare'],
  scale: ['task', 'ties', 'dare'],
  density: ['ties'],
  drop: ['dare'],
  rank: ['swag'],
}

/** How the members are averaged. `members`: how many there are. */
export function methodOptions(args: MethodArguments, members: number): AverageOptions {
  const { method, weights, last, base } = args
  for (const [key, kinds] of Object.entries(OF_METHODS)) {
    if (args[key as keyof MethodArguments] === undefined || kinds.includes(method)) continue
    const option = key.replace(/[A-Z]/g, letter => `-${letter.toLowerCase()}`)
    throw new UsageError(`--${option}: it goes with --method ${kinds.join(' or ')}, found ${method}`)
  }
  return given({
    ...{ last, base },
    method: methodOf(args, Math.min(last ?? members, members)),
    weights: weights === undefined ? undefined : parseNumbers('--weights', weights),
  })
}

function methodOf(args: MethodArguments, members: number): Method {
  const { decay = 0.9, decayWarmup: warmup, at = 0.5, density = 0.2, drop = 0.5, seed, scale } = args
  const methods: Readonly<Record<MethodKind, Method>> = {
    mean: { kind: 'mean' },
    ema: { kind: 'ema', decay, ...given({ warmup }) },
    trimmed: { kind: 'trimmed', trim: args.trim ?? Math.max(1, Math.floor(members / 10)) },
    median: { kind: 'median' },
    interpolate: { kind: 'interpolate', at },
    slerp: { kind: 'slerp', at },
    task: { kind: 'task', ...given({ scale }) },
    ties: { kind: 'ties', density, ...given({ scale }) },
    dare: { kind: 'dare', drop, seed, ...given({ scale }) },
    swag: { kind: 'swag', ...given({ rank: args.rank }) },
  }
  return methods[args.method]
}
