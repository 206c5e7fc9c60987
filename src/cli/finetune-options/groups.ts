/** Which weights train when, and at which rate. */

import type { Options } from 'yargs'
import type { PatternValue, TrainingSettings } from '../../train/training-settings.ts'
import { UsageError } from '../../util/errors.ts'

export const GROUP_OPTIONS = {
  'lr-of': {
    type: 'string',
    array: true,
    nargs: 1,
    group: 'Weights:',
    describe:
      'factor of the learning rate for weights of matching names, such as "fc.*=10"; may be given often, the last match counts',
  },
  'weight-decay-of': {
    type: 'string',
    array: true,
    nargs: 1,
    group: 'Weights:',
    describe: 'weight decay of weights of matching names, such as "embed*=0"',
  },
  'decay-all': {
    type: 'boolean',
    default: false,
    group: 'Weights:',
    describe: 'decay biases and the scales of norms too, which are left alone by default',
  },
  'layer-decay': {
    type: 'number',
    default: 1,
    group: 'Weights:',
    describe:
      'each layer learns at this share of the rate of the next, such as 0.75 for transformers; layers are told by the numbers in names (encoder.layer.3, blocks.11), else by depth; --dry-run shows them',
  },
  'head-only': {
    type: 'string',
    group: 'Weights:',
    describe:
      'train the last layer alone for a first time, e.g. 2ep, then all; batch norms are frozen meanwhile',
  },
  'head-only-train': {
    type: 'string',
    array: true,
    nargs: 1,
    group: 'Weights:',
    describe: 'with --head-only: train weights of matching names too in that time',
  },
} as const satisfies Record<string, Options>

export interface GroupArguments {
  readonly lrOf?: readonly string[]
  readonly weightDecayOf?: readonly string[]
  readonly decayAll: boolean
  readonly layerDecay: number
  readonly headOnly?: string
  readonly headOnlyTrain?: readonly string[]
}

export function groupsOf(
  args: GroupArguments,
): Pick<TrainingSettings, 'lrOf' | 'weightDecayOf' | 'decayAll' | 'layerDecay' | 'headOnly'> {
  const { lrOf = [], weightDecayOf = [], decayAll, layerDecay, headOnly, headOnlyTrain = [] } = args
  if (headOnly === undefined && headOnlyTrain.length > 0)
    throw new UsageError('--head-only-train: expected together with --head-only')
  return {
    lrOf: lrOf.map(text => parsePatternValue('--lr-of', text)),
    weightDecayOf: weightDecayOf.map(text => parsePatternValue('--weight-decay-of', text)),
    decayAll,
    layerDecay,
    headOnly: headOnly === undefined ? null : { over: headOnly, also: headOnlyTrain },
  }
}

/** `fc.*=10`; the last `=` counts, names may hold others. */
function parsePatternValue(option: string, text: string): PatternValue {
  const [, pattern, number] = /^(.+)=([^=]+)$/.exec(text.trim()) ?? []
  const value = Number(number)
  if (pattern !== undefined && number?.trim() !== '' && Number.isFinite(value)) return { pattern, value }
  throw new UsageError(`${option}: expected PATTERN=NUMBER such as "fc.*=10", found "${text}"`)
}
