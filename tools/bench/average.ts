/**
 * Averages ten ONNX checkpoints of 100 MB: time against a plain read of the same files, interleaved in one process, and
 * peak memory above the idle process.
 *
 * Usage: node --import tsx tools/bench/average.ts [--members 10] [--megabytes 100] [--rounds 3] [--dtype float32]
 */

import { spawnSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { planAverage, runAverage } from '../../src/averaging/index.ts'
import { Builder } from '../../src/ir/builder.ts'
import { Graph, Model } from '../../src/ir/graph.ts'
import { Value } from '../../src/ir/value.ts'
import { saveModel } from '../../src/serde/index.ts'
import { byteLengthOf, numberToBfloat16, numberToFloat16, type DType } from '../../src/tensor/dtype.ts'
import { FileSource } from '../../src/tensor/file-source.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { formatBytes, formatTable } from '../../src/util/format.ts'

const CHUNK = 1 << 20
const LAYERS = 25

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      members: { type: 'string', default: '10' },
      megabytes: { type: 'string', default: '100' },
      rounds: { type: 'string', default: '3' },
      dtype: { type: 'string', default: 'float32' },
      measure: { type: 'string' },
    },
  })
  const rounds = Number(values.rounds)
  if (values.measure !== undefined) return measure(values.measure.split(','), rounds)
  const folder = await mkdtemp(join(tmpdir(), 'swa-bench-'))
  try {
    const paths = await writeMembers(
      folder,
      Number(values.members),
      Number(values.megabytes) * 1e6,
      values.dtype as DType,
    )
    // A process of its own: memory counts from its idle state, without what making the files took.
    const self = fileURLToPath(import.meta.url)
    const args = ['--import', 'tsx', self, '--measure', paths.join(','), '--rounds', String(rounds)]
    const { status } = spawnSync(process.execPath, args, { stdio: 'inherit' })
    process.exitCode = status ?? 1
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

/** A chain of square matrix products, its weights a common centre plus noise, as in checkpoints of one run. */
async function writeMembers(folder: string, members: number, bytes: number, dtype: DType): Promise<string[]> {
  const side = Math.round(Math.sqrt(bytes / byteLengthOf(dtype, 1) / LAYERS))
  let state = 1
  const random = () => (state = (Math.imul(state, 1664525) + 1013904223) | 0) / 2 ** 32
  const centre = Float32Array.from({ length: side * side }, () => random() * 0.2)
  const paths: string[] = []
  for (let k = 0; k < members; k++) {
    const op = new Builder()
    const graph = new Graph('bench')
    const x = Value.typed('x', dtype, [1, side])
    let y = x
    for (let layer = 0; layer < LAYERS; layer++) {
      const moved = centre.map(w => w + random() * 0.02)
      const weight = Value.constant(`layer${layer}.weight`, encode(dtype, [side, side], moved))
      graph.initializers.push(weight)
      y = op.MatMul(y, weight)
    }
    graph.inputs = [x]
    graph.nodes = op.nodes
    graph.outputs = [y]
    paths.push(join(folder, `member-${k}.onnx`))
    await saveModel(new Model(graph, 10, new Map([['', 21]])), paths[k]!)
  }
  return paths
}

function encode(dtype: DType, dims: number[], values: Float32Array): Tensor {
  if (dtype === 'float32') return Tensor.of(dtype, dims, values)
  if (dtype === 'float64') return Tensor.of(dtype, dims, Float64Array.from(values))
  const convert = dtype === 'float16' ? numberToFloat16 : numberToBfloat16
  return Tensor.of(dtype, dims, Uint16Array.from(values, convert))
}

async function measure(paths: string[], rounds: number): Promise<void> {
  const out = join(paths[0]!, '..', 'averaged.onnx')
  globalThis.gc?.()
  const idle = statusOf('VmRSS')
  const resettable = resetPeak()
  const times: { read: number; plan: number; run: number }[] = []
  let peakOfReading = 0
  let peak = 0
  let total = 0
  for (let round = 0; round < rounds; round++) {
    const start = performance.now()
    total = 0
    for (const path of paths) total += await readWhole(path)
    const read = performance.now()
    peakOfReading = Math.max(peakOfReading, statusOf('VmHWM'))
    resetPeak()
    const plan = await planAverage(paths)
    const planned = performance.now()
    await runAverage(plan, out)
    const end = performance.now()
    peak = Math.max(peak, statusOf('VmHWM'))
    times.push({ read: read - start, plan: planned - read, run: end - planned })
  }
  const best = (key: 'read' | 'plan' | 'run') => Math.min(...times.map(time => time[key])) / 1000
  const [read, plan, run] = [best('read'), best('plan'), best('run')]
  const rate = (seconds: number) => `${formatBytes(total / seconds)}/s`
  const row = (what: string, seconds: number) => [
    what,
    seconds.toFixed(2),
    (seconds / read).toFixed(2),
    rate(seconds),
  ]
  console.log(`${paths.length} members, ${formatBytes(total)}; best of ${rounds} interleaved rounds`)
  console.log(
    formatTable([
      ['', 's', 'x read', 'input'],
      row('plain read', read),
      row('plan (compare, hash)', plan),
      row('average and write', run),
      row('both', plan + run),
    ]),
  )
  console.log(
    `memory: idle ${formatBytes(idle)}, peak of the plain read +${formatBytes(peakOfReading - idle)}, of averaging +${formatBytes(peak - idle)}${resettable ? '' : ' (peak since the start: it cannot be reset here)'}`,
  )
}

async function readWhole(path: string): Promise<number> {
  const source = await FileSource.open(path)
  try {
    for (let at = 0; at < source.byteLength; at += CHUNK) {
      await source.read(at, Math.min(CHUNK, source.byteLength - at))
    }
    return source.byteLength
  } finally {
    await source.close()
  }
}

/** A line of /proc/self/status in bytes. */
function statusOf(key: 'VmRSS' | 'VmHWM'): number {
  const match = new RegExp(`^${key}:\\s+(\\d+) kB`, 'm').exec(readFileSync('/proc/self/status', 'utf8'))
  return Number(match?.[1] ?? 0) * 1024
}

/** Makes the peak count from now on; false where the kernel does not allow it. */
function resetPeak(): boolean {
  try {
    writeFileSync('/proc/self/clear_refs', '5')
    return true
  } catch {
    return false
  }
}

await main()
