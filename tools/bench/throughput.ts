/**
 * Training throughput of an engine beside PyTorch eager (float32 or TF32, and automatic mixed precision) on the same
 * device: samples per second, in rounds that take turns.
 *
 *     PYTHON=venv/bin/python node --import tsx tools/bench/throughput.ts --model resnet50 --batch 64 --engine cuda:0
 *     ... --model vit_small_16 --batch 64      ... --model bert_base --batch 32 --size 128
 *
 * `--only ours` leaves PyTorch out, `--profile PREFIX` writes ONNX Runtime's trace (tools/bench/trace.ts reads it). A batch
 * is fed at every step, as in training: our side pays for its way from the thread that makes it to the device, PyTorch's
 * side keeps its one batch there. `--precision float16` is mixed precision, to be held against PyTorch's `amp`. A round should have several chunks: the first of a round is stacked while nothing runs.
 */

import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import type { Trainer } from '../../src/runtime/engine.ts'
import { chooseEngine } from '../../src/runtime/choose-engine.ts'
import type { Precision } from '../../src/runtime/engine.ts'
import { loadModel } from '../../src/serde/index.ts'
import type { DType } from '../../src/tensor/dtype.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { initialState } from '../../src/train/initial-state.ts'
import { prepareTraining } from '../../src/train/prepare.ts'
import { buildProgram } from '../../src/train/program.ts'
import { formatBytes } from '../../src/util/format.ts'
import { median, say, Side } from './side.ts'
import { BatchFeed } from './throughput_feed.ts'

const HERE = fileURLToPath(import.meta.url)
const TORCH = join(import.meta.dirname, 'throughput_torch.py')
const PYTHON = process.env['PYTHON'] ?? 'python3'
const LEARNING_RATE = 0.001
const MOMENTUM = 0.9

const { values: options } = parseArgs({
  options: {
    model: { type: 'string', default: 'resnet50' },
    batch: { type: 'string', default: '64' },
    size: { type: 'string', default: '224' },
    engine: { type: 'string', default: 'auto' },
    precision: { type: 'string' },
    profile: { type: 'string' },
    rounds: { type: 'string', default: '5' },
    steps: { type: 'string', default: '20' },
    threads: { type: 'string', default: '0' },
    only: { type: 'string' },
    recompute: { type: 'boolean', default: false },
    worker: { type: 'string' },
  },
})

interface StoredTensor {
  readonly name: string
  readonly dtype: DType
  readonly shape: readonly number[]
}

/** What a side says of itself before the first round. */
interface Ready {
  readonly device: string
  readonly version?: string
}

interface Round {
  readonly seconds: number
  readonly losses: readonly number[]
  readonly chunk?: number
  /** Bytes to and from the device, since the beginning. */
  readonly traffic?: Trainer['traffic']
  readonly notes?: readonly string[]
}

/** TF32 on CUDA, as PyTorch's side of the comparison has it, unless something else is asked for. */
function wantedPrecision(): { precision?: Precision } {
  const precision = options.precision ?? (options.engine.startsWith('cuda') ? 'tf32' : undefined)
  return precision === undefined ? {} : { precision: precision as Precision }
}

/** Our side: answers each line of its input with one round of steps. */
async function work(folder: string): Promise<void> {
  const stored = JSON.parse(readFileSync(join(folder, 'batch.json'), 'utf8')) as {
    inputs: StoredTensor[]
    target: StoredTensor
  }
  const { engine, reason } = await chooseEngine(options.engine, wantedPrecision())
  const file = await loadModel(join(folder, 'model.onnx'))
  const graph = await prepareTraining(engine, file.model, { batchSize: Number(options.batch) })
  const training = buildProgram(graph, {
    loss: { kind: 'cross-entropy' },
    optimizer: { kind: 'sgd', momentum: MOMENTUM, nesterov: false, weightDecay: 0 },
    batchNorm: 'train',
    dropout: false,
    precision: engine.precision === 'float16' ? 'float16' : 'float32',
    recompute: options.recompute,
  })
  const threads = Number(options.threads)
  const { profile } = options
  const trainer = await engine.openTrainer(training.program, {
    ...(threads === 0 ? {} : { threads }),
    ...(profile === undefined ? {} : { profile }),
  })
  await trainer.writeState(await initialState(graph, training))
  say({ device: `${engine.name} (${reason})` } satisfies Ready)

  const described = [...stored.inputs, stored.target]
  const feed = new BatchFeed(described.map(({ name }) => join(folder, `${name}.bin`)))
  const next = async () => {
    const batch = await feed.next()
    return new Map([
      ...described.map((tensor, i) => {
        const name = tensor === stored.target ? training.targets[0]!.name : tensor.name
        return [name, new Tensor(tensor.dtype, tensor.shape, batch[i]!)] as const
      }),
      // The scalars of plain SGD are the same at every step.
      ...training.scalarsAt(1, LEARNING_RATE),
    ])
  }
  for await (const _line of createInterface({ input: process.stdin })) say(await roundOf(trainer, next))
  await feed.close()
  await trainer.close()
  await file.close()
}

/** The steps of a round, in chunks of the size that the engine asks for; as in training, two are in flight. */
async function roundOf(trainer: Trainer, next: () => Promise<Map<string, Tensor>>): Promise<Round> {
  const start = performance.now()
  const losses: number[] = []
  const flying: Promise<void>[] = []
  for (let left = Number(options.steps); left > 0;) {
    const count = Math.min(trainer.chunk, left)
    const batches: Map<string, Tensor>[] = []
    while (batches.length < count) batches.push(await next())
    const steps = trainer.steps(batches)
    flying.push(steps.then(metrics => void losses.push(...metrics.map(each => each.get('loss')!))))
    left -= count
    if (flying.length > 1) await flying.shift()
  }
  await Promise.all(flying)
  const { chunk, traffic, notes } = trainer
  return { seconds: (performance.now() - start) / 1000, losses, chunk, traffic, notes }
}

/** Makes model and batch, once for each combination of options. */
function exported(): string {
  const { model, batch, size } = options
  const folder = join(tmpdir(), `swa-onnx-throughput-${model}-${batch}-${size}`)
  if (existsSync(join(folder, 'batch.json'))) return folder
  mkdirSync(folder, { recursive: true })
  const args = [TORCH, 'export', '--model', model, '--batch', batch, '--size', size, '--folder', folder]
  const { status } = spawnSync(PYTHON, args, { stdio: ['ignore', 'inherit', 'inherit'] })
  if (status !== 0) throw new Error(`${PYTHON} could not export the model (set PYTHON to one that has torch)`)
  return folder
}

async function compare(): Promise<void> {
  const folder = exported()
  const { model, batch, size, steps, threads, engine, only } = options
  const passed = ['--model', model, '--batch', batch, '--size', size, '--steps', steps, '--threads', threads]
  const ours = ['--import', 'tsx', HERE, '--worker', folder, ...passed, '--engine', engine]
  if (options.precision) ours.push('--precision', options.precision)
  if (options.profile) ours.push('--profile', options.profile)
  if (options.recompute) ours.push('--recompute')
  const sides = [new Side<Ready, Round>('ours', process.execPath, ours)]
  for (const precision of only === 'ours' ? [] : ['tf32', 'amp']) {
    const args = [TORCH, 'steps', ...passed, '--precision', precision, '--folder', folder]
    sides.push(new Side<Ready, Round>(`torch ${precision}`, PYTHON, args))
  }
  console.log(
    `${model}, batch ${batch}, size ${size}: ${options.rounds} rounds of ${steps} steps, after one round`,
  )
  for (const side of sides) {
    const { device, version } = await side.ready()
    console.log(`${side.name.padEnd(10)} ${device}${version ? `, PyTorch ${version}` : ''}`)
  }
  for (let i = 0; i <= Number(options.rounds); i++) for (const side of sides) await side.ask()

  const rates = sides.map(({ answers }) =>
    median(answers.slice(1).map(({ seconds }) => (Number(batch) * Number(steps)) / seconds)),
  )
  for (const [i, side] of sides.entries()) {
    const losses = side.answers[0]!.losses.slice(0, 3).map(loss => loss.toFixed(4))
    const ratio = i === 0 ? '' : `; ours is ${(rates[0]! / rates[i]!).toFixed(3)} times that`
    console.log(
      `${side.name.padEnd(10)} ${rates[i]!.toFixed(1)} samples/s, first losses ${losses.join(' ')}${ratio}`,
    )
    const { traffic, chunk, notes = [] } = side.answers.at(-1)!
    for (const note of notes) console.log(`           ${note.slice(0, 300)}`)
    if (traffic) {
      const perStep = (bytes: number) => formatBytes(bytes / traffic.steps)
      console.log(
        `           chunk ${chunk ?? 1}, ${traffic.runs} runs of ${traffic.steps} steps; a step moves ` +
          `${perStep(traffic.batchBytes)} of batches and ${perStep(traffic.stateBytes)} of state`,
      )
    }
  }
  await Promise.all(sides.map(side => side.close()))
}

await (options.worker === undefined ? compare() : work(options.worker))
