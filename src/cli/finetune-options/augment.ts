/** How training data are varied. */

import type { Options } from 'yargs'
import type { FinetuneOptions } from '../../train/options.ts'
import { inRange, whole } from '../options.ts'

export const AUGMENT_OPTIONS = {
  flip: { type: 'number', default: 0, group: 'Data:', describe: 'probability of a mirror image' },
  shift: { type: 'number', default: 0, group: 'Data:', describe: 'shift images by up to so many pixels' },
} as const satisfies Record<string, Options>

export interface AugmentArguments {
  readonly flip: number
  readonly shift: number
}

export function augmentOf({ flip, shift }: AugmentArguments): FinetuneOptions['augment'] {
  return {
    ...(flip > 0 ? { flip: inRange('--flip', flip, 0, 1) } : {}),
    ...(shift > 0 ? { shift: whole('--shift', shift) } : {}),
  }
}
