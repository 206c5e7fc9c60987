/** Recurrent layers: T 4, B 3, I 2, H 2 unless a row says more. */

import { float, floats, texts } from '../../../src/ir/attribute.ts'
import type { Attributes } from '../../../src/ir/builder.ts'
import type { GradRow, InputSpec } from '../../support/grad-row.ts'

const [T, B, I, H] = [4, 3, 2, 2]
const GATES: Readonly<Record<string, number>> = { LSTM: 4, GRU: 3, RNN: 1 }

/** Sequences of 2, 4 and 1 steps. */
const LENGTHS: InputSpec = { shape: [B], dtype: 'int32', values: [2, 4, 1] }

interface LayerOptions {
  readonly direction?: 'forward' | 'reverse' | 'bidirectional'
  readonly bias?: boolean
  readonly lengths?: boolean
  readonly states?: boolean
  readonly peepholes?: boolean
  /** Which of Y, Y_h, Y_c are there. */
  readonly outputs?: number
  readonly attributes?: Attributes
  readonly seed?: number
}

function layer(op: string, options: LayerOptions = {}): GradRow {
  const { direction = 'forward', bias = true, lengths, states, peepholes, attributes = {} } = options
  const d = direction === 'bidirectional' ? 2 : 1
  const rows = GATES[op]! * H
  const inputs = [
    [T, B, I],
    [d, rows, I],
    [d, rows, H],
    bias ? [d, 2 * rows] : null,
    lengths ? LENGTHS : null,
    states ? [d, B, H] : null,
    ...(op === 'LSTM' ? [states ? [d, B, H] : null, peepholes ? [d, 3 * H] : null] : []),
  ]
  while (inputs.at(-1) === null) inputs.pop()
  return {
    ...{ op, inputs, dtype: 'float32', opset: 18, outputs: options.outputs ?? (op === 'LSTM' ? 3 : 2) },
    domain: [-1, 1],
    attributes: {
      hidden_size: H,
      ...(d === 1 && direction === 'forward' ? {} : { direction }),
      ...attributes,
    },
    ...{ delta: 2e-3, tolerance: 5e-3 },
    ...(options.seed === undefined ? {} : { seed: options.seed }),
  }
}

const DIRECTIONS = ['forward', 'reverse', 'bidirectional'] as const
const everything = { lengths: true, states: true } as const

/** Pre-activations cannot be kept away from kinks as inputs are: a seed whose samples are far from them. */
const awayFromKinks = { seed: 1 } as const

const functions = (names: readonly string[], alphas: number[] = [], betas: number[] = []): Attributes => ({
  activations: texts(names),
  ...(alphas.length > 0 ? { activation_alpha: floats(alphas) } : {}),
  ...(betas.length > 0 ? { activation_beta: floats(betas) } : {}),
})

export const recurrentRows: readonly GradRow[] = [
  ...['LSTM', 'GRU', 'RNN'].flatMap(op => [
    ...DIRECTIONS.map(direction => layer(op, { direction })),
    ...DIRECTIONS.map(direction => layer(op, { direction, ...everything })),
    layer(op, { bias: false }),
    layer(op, { direction: 'bidirectional', lengths: true, outputs: 1 }),
  ]),
  ...DIRECTIONS.map(direction => layer('LSTM', { direction, peepholes: true, ...everything })),
  layer('LSTM', { peepholes: true }),
  ...DIRECTIONS.map(direction =>
    layer('GRU', { direction, ...everything, attributes: { linear_before_reset: 1 } }),
  ),
  layer('GRU', { attributes: { linear_before_reset: 1 }, bias: false }),
  layer('LSTM', { attributes: functions(['HardSigmoid', 'Softsign', 'Softplus'], [0.1], [0.4]) }),
  layer('LSTM', { attributes: functions(['Sigmoid', 'Affine', 'ScaledTanh'], [0.7, 1.5], [0.1, 0.6]) }),
  layer('GRU', { attributes: functions(['Sigmoid', 'Elu'], [0.8]) }),
  layer('RNN', {
    direction: 'bidirectional',
    attributes: functions(['Relu', 'LeakyRelu'], [0.2]),
    ...awayFromKinks,
  }),
  layer('RNN', { attributes: functions(['ThresholdedRelu'], [0.1]), ...awayFromKinks }),
  layer('LSTM', { attributes: { clip: float(0.8) }, ...awayFromKinks }),
  layer('GRU', { attributes: { clip: float(0.8) }, ...awayFromKinks }),
  layer('GRU', { attributes: { clip: float(0.8), linear_before_reset: 1 }, ...awayFromKinks }),
  layer('RNN', { attributes: { clip: float(0.8) }, ...awayFromKinks }),
]
