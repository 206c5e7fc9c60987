/** What is minimised. */

import { readFileSync } from 'node:fs'
import type { Options } from 'yargs'
import type { ClassWeights, PosWeight } from '../../train/class-weights.ts'
import type { LossKind } from '../../train/losses.ts'
import type { LossRequest, LossSettings } from '../../train/task.ts'
import { InputError, messageOf, UsageError } from '../../util/errors.ts'
import { given, inRange, parseNumbers } from '../options.ts'

const LOSS_KINDS = [
  ...(['cross-entropy', 'focal', 'causal-lm', 'binary-cross-entropy', 'binary-focal'] as const),
  ...(['mse', 'l1', 'huber', 'smooth-l1'] as const),
] as const satisfies readonly LossKind[]

export const OBJECTIVE_OPTIONS = {
  loss: {
    type: 'string',
    array: true,
    nargs: 1,
    default: ['auto'],
    defaultDescription: 'auto, which looks at model and data',
    group: 'Training:',
    describe: `loss: ${LOSS_KINDS.join(', ')}; with a number (focal:2, huber:0.5); of one output among several, target and weight as they are needed: OUTPUT=LOSS@TARGET*0.3, once for each output; or an ONNX file`,
  },
  'label-smoothing': { type: 'number', default: 0, group: 'Training:', describe: 'of cross-entropy' },
  'ignore-index': {
    type: 'number',
    default: -100,
    group: 'Training:',
    describe: 'class that counts nothing (in mask files 255, unless it is from 0 on)',
  },
  'class-weights': {
    type: 'string',
    group: 'Training:',
    describe:
      'weights of the classes: balanced, w1,w2,..., or a JSON file (a list, or weights by class name)',
  },
  'pos-weight': {
    type: 'string',
    group: 'Training:',
    describe: 'weight of "yes" in binary losses: balanced, one number, or w1,w2,...',
  },
  output: { type: 'string', group: 'Weights:', describe: 'model output that the loss attaches to' },
} as const satisfies Record<string, Options>

export interface ObjectiveArguments {
  readonly loss: readonly string[]
  readonly labelSmoothing: number
  readonly ignoreIndex: number
  readonly classWeights?: string
  readonly posWeight?: string
  readonly output?: string
}

/** The settings of the loss, and the file of a loss of one's own. */
export function objectiveOf(args: ObjectiveArguments): { settings: LossSettings; lossGraph?: string } {
  const { labelSmoothing, ignoreIndex, output } = args
  const files = args.loss.filter(text => text.endsWith('.onnx'))
  if (files.length > 0 && args.loss.length > 1) {
    throw new UsageError(`--loss: an ONNX file is the whole loss, found ${args.loss.join(' and ')}`, {
      cure: 'compute the other losses in the file too',
    })
  }
  const requests = args.loss.map(parseLoss)
  const plain = requests.length === 1 && Object.keys(requests[0]!).length === 1
  return {
    settings: {
      loss: files.length > 0 ? 'graph' : plain ? requests[0]!.kind : requests,
      labelSmoothing: inRange('--label-smoothing', labelSmoothing, 0, 1),
      ignoreIndex,
      ...given({
        classWeights: args.classWeights === undefined ? undefined : parseClassWeights(args.classWeights),
        posWeight: args.posWeight === undefined ? undefined : parsePosWeight(args.posWeight),
        output,
      }),
    },
    ...(files[0] === undefined ? {} : { lossGraph: files[0] }),
  }
}

/** `logits=focal:2@label*0.3`: output, loss with its number, target, weight; all but the loss may be left out. */
export function parseLoss(text: string): LossRequest {
  if (text.endsWith('.onnx')) return { kind: 'auto' }
  // Names of outputs may hold anything: the last = is the one that counts.
  const [, output, kind, parameter, target, weight] =
    /^(?:(.+)=)?([a-z0-9-]+)(?::([^@*]+))?(?:@([^*]+))?(?:\*(.+))?$/.exec(text) ?? []
  if (kind === undefined || !isKind(kind)) {
    throw new UsageError(`--loss: expected a loss, OUTPUT=LOSS or an .onnx file, found "${text}"`, {
      cure: `the losses are ${LOSS_KINDS.join(', ')}`,
    })
  }
  const number = (part: string | undefined) =>
    part === undefined ? undefined : parseNumbers(`--loss ${text}`, part)[0]
  return { kind, ...given({ output, parameter: number(parameter), target, weight: number(weight) }) }
}

function isKind(text: string): text is LossKind | 'auto' {
  return text === 'auto' || (LOSS_KINDS as readonly string[]).includes(text)
}

function parsePosWeight(text: string): PosWeight {
  return text === 'balanced' ? text : checkWeights('--pos-weight', parseNumbers('--pos-weight', text))
}

function parseClassWeights(text: string): ClassWeights {
  if (text === 'balanced') return text
  if (/^[-+.\deE,\s]+$/.test(text))
    return checkWeights('--class-weights', parseNumbers('--class-weights', text))
  const value = readJson(text)
  if (Array.isArray(value)) return checkWeights(`--class-weights ${text}`, value)
  if (typeof value !== 'object' || value === null)
    throw new InputError(`--class-weights ${text}: expected a list of numbers, or numbers by class name`)
  checkWeights(`--class-weights ${text}`, Object.values(value))
  return value as Record<string, number>
}

function readJson(path: string): unknown {
  try {
    return JSON.parse(readFileSync(path, 'utf8'))
  } catch (error) {
    throw new InputError(
      `--class-weights ${path}: expected balanced, numbers, or a JSON file: ${messageOf(error)}`,
      {
        cause: error,
      },
    )
  }
}

function checkWeights(option: string, weights: readonly unknown[]): number[] {
  return weights.map(weight => {
    if (typeof weight === 'number' && weight >= 0 && Number.isFinite(weight)) return weight
    throw new UsageError(`${option}: expected numbers that are not negative, found ${JSON.stringify(weight)}`)
  })
}
