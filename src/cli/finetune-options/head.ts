/** The classifier: the model's own, or a fresh one. */

import type { Options } from 'yargs'
import type { HeadOptions } from '../../train/head.ts'
import { given, whole } from '../options.ts'

export const HEAD_OPTIONS = {
  head: {
    choices: ['auto', 'keep', 'reinit'] as const,
    default: 'auto' as const,
    group: 'Weights:',
    describe:
      "classifier: the model's own (keep), a fresh one (reinit); auto insists that its classes are those of the data",
  },
  'num-classes': {
    type: 'number',
    group: 'Weights:',
    describe:
      'classes of the model; another number than it has means a fresh classifier (default: those of the data)',
  },
} as const satisfies Record<string, Options>

export interface HeadArguments {
  readonly head: NonNullable<HeadOptions['head']>
  readonly numClasses?: number
}

export function headOf({ head, numClasses }: HeadArguments): HeadOptions {
  return {
    head,
    ...given({ numClasses: numClasses === undefined ? undefined : whole('--num-classes', numClasses) }),
  }
}
