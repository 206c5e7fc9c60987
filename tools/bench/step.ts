/**
 * One training step of ours against PyTorch's eager step: same model, batch, optimizer and number of threads, taking turns
 * in one run, so that whatever else the machine does falls on both.
 *
 *     PYTHON=venv/bin/python node --import tsx tools/bench/step.ts --model resnet18 --batch 16 --size 224 --steps 15
 *
 *     ... --model vit_tiny_16    ... --model bert_mini --size 128    ... --model convnext_tiny    ... --model lstm --size 64
 *
 * `--recompute` computes activations again instead of keeping them, `--only ours` leaves PyTorch out, `--profile PREFIX`
 * writes ONNX Runtime's trace of the last steps.
 */

import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync } from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { cpuEngine, lowerForCpu } from '../../src/runtime/ort-cpu/engine.ts'
import type { Trainer } from '../../src/runtime/engine.ts'
import { loadModel } from '../../src/serde/index.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { initialState } from '../../src/train/initial-state.ts'
import { prepareTraining } from '../../src/train/prepare.ts'
import { buildProgram } from '../../src/train/program.ts'
import { median, say, Side } from './side.ts'

const HERE = fileURLToPath(import.meta.url)
const TORCH = join(import.meta.dirname, 'step_torch.py')
const PYTHON = process.env['PYTHON'] ?? 'python3'
const LEARNING_RATE = 0.01
const MOMENTUM = 0.9
/** Steps that are not counted: caches, arenas and thread pools fill. */
const WARM_UP = 2

const { values: options } = parseArgs({
  options: {
    model: { type: 'string', default: 'resnet18' },
    batch: { type: 'string', default: '16' },
    size: { type: 'string', default: '224' },
    steps: { type: 'string', default: '15' },
    threads: { type: 'string', default: String(availableParallelism()) },
    only: { type: 'string' },
    recompute: { type: 'boolean', default: false },
    profile: { type: 'string' },
    worker: { type: 'string' },
  },
})

/** A tensor of the batch as the export describes it. */
interface StoredTensor {
  readonly name: string
  readonly dtype: 'float32' | 'int64'
  readonly shape: number[]
}

/** What a side says of itself before the first step. */
interface Ready {
  readonly peakMb: number
  readonly version?: string
  /** Milliseconds from the model's bytes to a session that can step, by stage. */
  readonly build?: Readonly<Record<string, number>>
  readonly nodes?: number
}

interface StepResult {
  readonly ms: number
  readonly cpuMs: number
  readonly loss: number
  readonly peakMb: number
}

/** The highest resident size of this process so far. */
function peakMb(): number {
  return Number(/VmHWM:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))![1]) / 1024
}

/** Our side: answers each line of its input with one step. */
async function work(folder: string): Promise<void> {
  const stored = JSON.parse(readFileSync(join(folder, 'batch.json'), 'utf8')) as {
    inputs: StoredTensor[]
    target: StoredTensor
  }
  const build: Record<string, number> = {}
  const timed = async <T>(stage: string, run: () => Promise<T> | T): Promise<T> => {
    const start = performance.now()
    const result = await run()
    build[stage] = Math.round(performance.now() - start)
    return result
  }
  const engine = cpuEngine()
  const file = await timed('read', () => loadModel(join(folder, 'model.onnx')))
  const graph = await timed('prepare', () =>
    prepareTraining(engine, file.model, { batchSize: Number(options.batch) }),
  )
  const training = await timed('program', () =>
    buildProgram(graph, {
      loss: { kind: 'cross-entropy' },
      optimizer: { kind: 'sgd', momentum: MOMENTUM, nesterov: false, weightDecay: 0 },
      batchNorm: 'train',
      dropout: false,
      recompute: options.recompute,
    }),
  )
  // This is done again inside openTrainer: here only to know its share.
  const lowered = await timed('(lowering)', () => lowerForCpu(training.program))
  const profile = options.profile ? { profile: options.profile } : {}
  const trainer = await timed('open', () =>
    engine.openTrainer(training.program, { threads: Number(options.threads), ...profile }),
  )
  await trainer.writeState(await initialState(graph, training))
  say({ peakMb: peakMb(), build, nodes: lowered.graph.nodes.length } satisfies Ready)

  const batch = [...stored.inputs, stored.target].map(tensor => {
    const name = tensor === stored.target ? training.targets[0]!.name : tensor.name
    return { ...tensor, name, bytes: new Uint8Array(readFileSync(join(folder, `${tensor.name}.bin`))) }
  })
  const feeds = () =>
    new Map([
      ...batch.map(
        ({ name, dtype, shape, bytes }) => [name, new Tensor(dtype, shape, bytes.slice())] as const,
      ),
      [training.scalarInputs[0]!, Tensor.scalar('float32', LEARNING_RATE)],
    ])
  for await (const _line of createInterface({ input: process.stdin })) say(await stepOf(trainer, feeds()))
  await trainer.close()
  await file.close()
}

async function stepOf(trainer: Trainer, feeds: Map<string, Tensor>): Promise<StepResult> {
  const [start, cpu] = [performance.now(), process.cpuUsage()]
  const [metrics] = await trainer.steps([feeds])
  const ms = performance.now() - start
  const { user, system } = process.cpuUsage(cpu)
  return { ms, cpuMs: (user + system) / 1e3, loss: metrics!.get('loss')!, peakMb: peakMb() }
}

/** Makes model and batch, once for each combination of options. */
function exported(): string {
  const { model, batch, size } = options
  const folder = join(tmpdir(), `swa-onnx-bench-${model}-${batch}-${size}`)
  if (existsSync(join(folder, 'batch.json'))) return folder
  mkdirSync(folder, { recursive: true })
  const args = [
    TORCH,
    'export',
    ...['--model', model],
    ...['--batch', batch],
    ...['--size', size],
    ...['--folder', folder],
  ]
  const { status } = spawnSync(PYTHON, args, { stdio: ['ignore', 'inherit', 'inherit'] })
  if (status !== 0) throw new Error(`${PYTHON} could not export the model (set PYTHON to one that has torch)`)
  return folder
}

async function compare(): Promise<void> {
  const folder = exported()
  const { model, batch, size, threads } = options
  const passed = ['--model', model, '--batch', batch, '--size', size, '--threads', threads]
  const sides: Side<Ready, StepResult>[] = []
  const profile = options.profile ? ['--profile', options.profile] : []
  const recompute = options.recompute ? ['--recompute'] : []
  if (options.only !== 'torch') {
    const args = ['--import', 'tsx', HERE, '--worker', folder, ...passed, ...profile, ...recompute]
    sides.push(new Side('ours', process.execPath, args))
  }
  if (options.only !== 'ours') {
    sides.push(new Side('torch', PYTHON, [TORCH, 'steps', ...passed, '--folder', folder]))
  }
  console.log(`${model}, batch ${batch}, size ${size}, ${threads} threads, SGD with momentum`)
  const ready = new Map<Side<Ready, StepResult>, Ready>()
  for (const side of sides) ready.set(side, await side.ready())
  for (let i = 0; i < WARM_UP + Number(options.steps); i++) for (const side of sides) await side.ask()

  for (const side of sides) {
    const { build, nodes, version, peakMb: before } = ready.get(side)!
    const counted = side.answers.slice(WARM_UP)
    const ms = counted.map(result => result.ms)
    const losses = side.answers.slice(0, 3).map(result => result.loss.toFixed(5))
    const peak = Math.max(...side.answers.map(result => result.peakMb))
    console.log(
      `${side.name.padEnd(6)} step min ${Math.min(...ms).toFixed(0)} ms, median ${median(ms).toFixed(0)} ms,` +
        ` CPU ${Math.min(...counted.map(result => result.cpuMs)).toFixed(0)} ms;` +
        ` peak memory ${peak.toFixed(0)} MB (before the first step ${before.toFixed(0)} MB);` +
        ` first losses ${losses.join(' ')}${version ? ` (PyTorch ${version})` : ''}`,
    )
    if (build) {
      const stages = Object.entries(build).map(([stage, time]) => `${stage} ${time}`)
      const total = Object.entries(build).reduce(
        (sum, [stage, t]) => sum + (stage.startsWith('(') ? 0 : t),
        0,
      )
      console.log(`       program of ${nodes} nodes built in ${total} ms: ${stages.join(', ')}`)
    }
  }
  const [ours, torch] = sides
  if (ours && torch) {
    const times = (side: Side<Ready, StepResult>) => side.answers.slice(WARM_UP).map(result => result.ms)
    const peak = (side: Side<Ready, StepResult>) => Math.max(...side.answers.map(result => result.peakMb))
    const [a, b] = [times(ours), times(torch)]
    const pairwise = median(a.map((ms, i) => ms / b[i]!))
    console.log(
      `ratio  min ${(Math.min(...a) / Math.min(...b)).toFixed(3)}, median ${(median(a) / median(b)).toFixed(3)},` +
        ` pairwise median ${pairwise.toFixed(3)}; peak memory ${(peak(ours) / peak(torch)).toFixed(3)}`,
    )
  }
  await Promise.all(sides.map(side => side.close()))
}

await (options.worker === undefined ? compare() : work(options.worker))
