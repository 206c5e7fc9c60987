/** A row of the table: one architecture by one exporter. */

import type { TensorError } from './torch.ts'

export interface Row {
  readonly name: string
  readonly exporter: string
  readonly parameters: number
  readonly nodes: number
  readonly operators: readonly string[]
  readonly statistics?: 'batch' | 'running'
  /** Every parameter has a gradient within the tolerance. */
  readonly ok: boolean
  /** Compared parameter tensors, and those of them whose gradient is zero in exact arithmetic. */
  readonly tensors?: number
  readonly zeros?: number
  readonly unreached?: number
  /** The worst relative error and its tensor; the worst of PyTorch's own float32 gradients against the same reference. */
  readonly error?: number
  readonly tensor?: string
  /** The worst error without the floor under small tensors. */
  readonly strictError?: number
  readonly torchError?: number
  readonly reference?: 'float64' | 'float32'
  /** The batch that was compared, and its samples. */
  readonly seed?: number
  readonly batch?: number
  readonly above?: readonly TensorError[]
  readonly extra?: readonly string[]
  readonly buildMs?: number
  readonly oursMs?: number
  readonly torchMs?: number
  readonly message: string | null
}

const WIDTHS = [40, 11, 5, 8, 9, 9, 9, 7, 6, 4] as const
const TITLES = [
  'architecture',
  'exporter',
  'nodes',
  'params',
  'error',
  'no floor',
  "torch's",
  'build',
  'step',
  'seed',
]

function cells(values: readonly string[]): string {
  return values.map((value, i) => (i < 2 ? value.padEnd(WIDTHS[i]!) : value.padStart(WIDTHS[i]!))).join(' ')
}

export const HEADER = cells(TITLES)

/** The row as text; a failure ends in its message. */
export function line(row: Row, verbose: boolean): string {
  const number = (value: number | undefined, text: (value: number) => string) =>
    value === undefined ? '-' : text(value)
  const ratio = row.oursMs && row.torchMs ? row.oursMs / row.torchMs : undefined
  const shown = cells([
    row.name,
    row.exporter,
    String(row.nodes),
    `${(row.parameters / 1e6).toFixed(2)}M`,
    number(row.error, value => value.toExponential(1)),
    number(row.strictError, value => value.toExponential(1)),
    number(row.torchError, value => value.toExponential(1)),
    number(row.buildMs, value => `${(value / 1000).toFixed(1)}s`),
    number(ratio, value => `${value.toFixed(2)}x`),
    number(row.seed, String),
  ])
  const notes = [
    row.ok ? 'ok' : 'FAIL',
    row.message ?? '',
    row.extra && row.extra.length > 0 ? `also trained: ${row.extra.slice(0, 3).join(', ')}` : '',
    ...(verbose || !row.ok ? (row.above ?? []) : []).map(
      ({ tensor, error, torch }) =>
        `\n    ${tensor}: ${error.toExponential(1)} (PyTorch's float32: ${torch.toExponential(1)})`,
    ),
  ]
  return `${shown}  ${notes.filter(note => note !== '').join(' ')}`
}
