/**
 * Where the time of an ONNX Runtime trace went: milliseconds and calls by operator and provider, longest first.
 *
 *     node --import tsx tools/bench/trace.ts PREFIX_2026-01-01_00-00-00.json [--shapes]
 *
 * A CUDA kernel is only launched in the time that is written down: set CUDA_LAUNCH_BLOCKING=1 for the profiled run.
 */

import { readFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { formatTable } from '../../src/util/format.ts'

interface TraceEvent {
  readonly cat?: string
  readonly name?: string
  readonly dur?: number
  readonly args?: Readonly<Record<string, unknown>>
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    shapes: { type: 'boolean', default: false },
    rows: { type: 'string', default: '30' },
  },
})

const totals = new Map<string, { us: number; calls: number }>()
for (const { cat, name, dur = 0, args = {} } of JSON.parse(
  readFileSync(positionals[0]!, 'utf8'),
) as TraceEvent[]) {
  if (cat !== 'Node' || !name?.endsWith('_kernel_time')) continue
  const provider = String(args['provider']).replace('ExecutionProvider', '')
  const shapes = values.shapes ? ` ${JSON.stringify(args['input_type_shape'])}` : ''
  const key = `${String(args['op_name'])}|${provider}|${shapes}`
  const { us, calls } = totals.get(key) ?? { us: 0, calls: 0 }
  totals.set(key, { us: us + dur, calls: calls + 1 })
}
const sorted = [...totals].sort(([, a], [, b]) => b.us - a.us)
const rows = sorted
  .slice(0, Number(values.rows))
  .map(([key, { us, calls }]) => [(us / 1000).toFixed(1), String(calls), ...key.split('|')])
console.log(formatTable([['ms', 'calls', 'operator', 'provider', ''], ...rows]))
