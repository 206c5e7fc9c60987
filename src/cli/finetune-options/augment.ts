/** How training data are varied. */

import type { Options } from 'yargs'
import type { FinetuneOptions } from '../../train/options.ts'
import { UsageError } from '../../util/errors.ts'
import { inRange, parseNumbers, whole } from '../options.ts'

const group = 'Augmentation:'

export const AUGMENT_OPTIONS = {
  flip: { type: 'number', default: 0, group, describe: 'probability of a mirror image, left for right' },
  'vertical-flip': { type: 'number', default: 0, group, describe: 'probability of an image upside down' },
  shift: { type: 'number', default: 0, group, describe: 'shift images by up to so many pixels' },
  'random-resized-crop': {
    type: 'string',
    group,
    describe:
      'a random part of the image, smallest and largest share of its area, scaled to the whole: 0.08,1 as torchvision has it, 0.5,1 is gentler',
  },
  'crop-ratio': {
    type: 'string',
    group,
    describe: 'with --random-resized-crop: smallest and largest width / height (default: 0.75,1.3333)',
  },
  rotation: { type: 'number', default: 0, group, describe: 'turn images by up to so many degrees' },
  'color-jitter': {
    type: 'string',
    group,
    describe:
      'strength of changes of brightness, contrast, saturation and hue: 0.4, or one for each: 0.4,0.4,0.4,0.1',
  },
  'rand-augment': {
    type: 'string',
    group,
    describe: 'RandAugment: operations for each image and their magnitude of 30: 2,9',
  },
  'random-erasing': {
    type: 'number',
    default: 0,
    group,
    describe: 'probability of a rectangle blotted out (2 to 33 % of the area)',
  },
  'erasing-value': {
    choices: ['zero', 'random'] as const,
    default: 'zero' as const,
    group,
    describe: 'what --random-erasing leaves: zeros after normalisation (the mean), or noise',
  },
  mixup: {
    type: 'number',
    default: 0,
    group,
    describe: 'alpha of MixUp of two samples and their classes: 0.2, or 0.8 for long runs',
  },
  cutmix: {
    type: 'number',
    default: 0,
    group,
    describe: 'alpha of CutMix of two images and their classes or masks: 1',
  },
  'mix-probability': { type: 'number', default: 1, group, describe: 'share of batches that are mixed' },
  'mix-switch': {
    type: 'number',
    default: 0.5,
    group,
    describe: 'with --mixup and --cutmix: the share that CutMix has',
  },
} as const satisfies Record<string, Options>

export interface AugmentArguments {
  readonly flip: number
  readonly verticalFlip: number
  readonly shift: number
  readonly randomResizedCrop?: string | undefined
  readonly cropRatio?: string | undefined
  readonly rotation: number
  readonly colorJitter?: string | undefined
  readonly randAugment?: string | undefined
  readonly randomErasing: number
  readonly erasingValue: 'zero' | 'random'
  readonly mixup: number
  readonly cutmix: number
  readonly mixProbability: number
  readonly mixSwitch: number
}

export function augmentOf(args: AugmentArguments): FinetuneOptions['augment'] {
  const { flip, verticalFlip, shift, rotation, randomErasing, erasingValue } = args
  return {
    ...(flip > 0 ? { flip: inRange('--flip', flip, 0, 1) } : {}),
    ...(verticalFlip > 0 ? { verticalFlip: inRange('--vertical-flip', verticalFlip, 0, 1) } : {}),
    ...(shift > 0 ? { shift: whole('--shift', shift) } : {}),
    ...cropOf(args),
    ...(rotation > 0 ? { rotation: inRange('--rotation', rotation, 0, 180) } : {}),
    ...(args.colorJitter === undefined ? {} : { colorJitter: jitterOf(args.colorJitter) }),
    ...(args.randAugment === undefined ? {} : { randAugment: randAugmentOf(args.randAugment) }),
    ...(randomErasing > 0
      ? {
          erasing: {
            probability: inRange('--random-erasing', randomErasing, 0, 1),
            ...{ scale: [0.02, 0.33], ratio: [0.3, 3.3], value: erasingValue },
          },
        }
      : {}),
  }
}

/** How batches are mixed; undefined if they are not. */
export function mixOf(args: AugmentArguments): FinetuneOptions['settings']['mix'] {
  const mixup = inRange('--mixup', args.mixup, 0, Infinity)
  const cutmix = inRange('--cutmix', args.cutmix, 0, Infinity)
  const probability = inRange('--mix-probability', args.mixProbability, 0, 1)
  const switchProbability = inRange('--mix-switch', args.mixSwitch, 0, 1)
  return mixup > 0 || cutmix > 0 ? { mixup, cutmix, probability, switchProbability } : undefined
}

function cropOf({ randomResizedCrop, cropRatio }: AugmentArguments): FinetuneOptions['augment'] {
  if (randomResizedCrop === undefined) {
    if (cropRatio !== undefined) throw new UsageError('--crop-ratio: it goes with --random-resized-crop')
    return {}
  }
  const scale = rangeOf('--random-resized-crop', randomResizedCrop, 1)
  const ratio =
    cropRatio === undefined ? ([3 / 4, 4 / 3] as const) : rangeOf('--crop-ratio', cropRatio, Infinity)
  return { randomResizedCrop: { scale, ratio } }
}

/** `0.08,1`: two positive numbers, the larger one last. */
function rangeOf(option: string, text: string, most: number): readonly [number, number] {
  const [low, high, ...rest] = parseNumbers(option, text)
  if (low! > 0 && high !== undefined && low! <= high && high <= most && rest.length === 0) return [low!, high]
  const limit = Number.isFinite(most) ? ` up to ${most}` : ''
  throw new UsageError(`${option}: expected smallest,largest above 0${limit}, found "${text}"`)
}

function jitterOf(text: string): NonNullable<FinetuneOptions['augment']['colorJitter']> {
  const numbers = parseNumbers('--color-jitter', text)
  const [brightness, contrast = brightness!, saturation = brightness!, hue = 0] = numbers
  const known = numbers.length === 1 || numbers.length === 3 || numbers.length === 4
  if (known && numbers.every(number => number >= 0) && hue <= 0.5)
    return { brightness: brightness!, contrast, saturation, hue }
  throw new UsageError(
    `--color-jitter: expected one strength, or brightness,contrast,saturation and hue up to 0.5, found "${text}"`,
  )
}

function randAugmentOf(text: string): NonNullable<FinetuneOptions['augment']['randAugment']> {
  const [ops, magnitude = 9, ...rest] = parseNumbers('--rand-augment', text)
  const fits = Number.isSafeInteger(ops) && ops! > 0 && magnitude >= 0 && magnitude <= 30 && rest.length === 0
  if (fits && Number.isSafeInteger(magnitude)) return { ops: ops!, magnitude }
  throw new UsageError(
    `--rand-augment: expected operations and magnitude from 0 to 30, such as 2,9, found "${text}"`,
  )
}
