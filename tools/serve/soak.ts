/**
 * A soak of the server: sound requests at a share of what it can do, a new version every few seconds, a session that ends
 * every now and then, hostile requests in between. Says what failed, what was wrong, and how memory grew.
 *
 * Usage: node --import tsx tools/serve/soak.ts [--minutes 30] [--load 0.8] [--reload 10] [--crash 60]
 */

import { fork, type ChildProcess } from 'node:child_process'
import { copyFileSync, mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { Graph, Model } from '../../src/ir/graph.ts'
import { Node } from '../../src/ir/node.ts'
import { Value } from '../../src/ir/value.ts'
import { serializeModel } from '../../src/serde/index.ts'
import { InferenceClient } from '../../src/serve/client/client.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { newCounts, sendHostile, sendSound, type Case, type Counts } from './soak-load.ts'
import type { SoakAnswer, SoakOrder } from './soak-server.ts'

export interface SoakOptions {
  readonly seconds: number
  /** Share of the measured capacity. */
  readonly load: number
  /** Seconds between new versions, between sessions that end, and hostile requests a second. */
  readonly reloadEvery: number
  readonly crashEvery: number
  readonly hostileRate: number
}

export interface SoakReport extends Counts {
  readonly rate: number
  readonly reloads: number
  readonly crashes: number
  /** MiB after a tenth of the time (medians of a tenth each) and at the end. */
  readonly memory: { readonly early: number; readonly late: number; readonly growth: number }
}

/** Requests at one time: fewer than the server's queues hold. */
const MOST_OPEN = 200

const DIGITS = fileURLToPath(new URL('../../fixtures/demo/digits_cnn.onnx', import.meta.url))

/** y = version * x over rows of 768: what answers shows in the answer. */
async function scaleModel(factor: number): Promise<Uint8Array> {
  const dims = ['N', 768]
  const [x, y] = [Value.typed('x', 'float32', dims), Value.typed('y', 'float32', dims)]
  const weight = Value.constant('factor', Tensor.of('float32', [], [factor]))
  const graph = new Graph('scaled')
  graph.inputs = [x]
  graph.outputs = [y]
  graph.initializers = [weight]
  graph.nodes = [new Node('Mul', [x, weight], [y], { name: 'scale' })]
  return serializeModel(new Model(graph, 8, new Map([['', 18]])))
}

async function publishVersion(root: string, version: number): Promise<void> {
  const folder = join(root, 'scaled', String(version))
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, 'part'), await scaleModel(version))
  renameSync(join(folder, 'part'), join(folder, 'model.onnx'))
  rmSync(join(root, 'scaled', String(version - 3)), { recursive: true, force: true })
}

interface Waiting {
  readonly kind: string
  readonly resolve: (answer: never) => void
  readonly reject: (error: Error) => void
}

class SoakServer {
  readonly #child: ChildProcess
  readonly #waiting: Waiting[] = []
  crashed = 0

  constructor(folder: string) {
    const entry = fileURLToPath(new URL('./soak-server.ts', import.meta.url))
    this.#child = fork(entry, [folder], { execArgv: ['--import', import.meta.resolve('tsx')] })
    this.#child.once('exit', code => {
      for (const { reject } of this.#waiting) reject(new Error(`the server ended with ${code ?? 'a signal'}`))
    })
    this.#child.on('message', message => {
      const answer = message as SoakAnswer
      if (answer.kind === 'crashed') this.crashed++
      const at = this.#waiting.findIndex(({ kind }) => kind === answer.kind)
      if (at >= 0) this.#waiting.splice(at, 1)[0]!.resolve(answer as never)
    })
  }

  get alive(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null
  }

  wait<K extends SoakAnswer['kind']>(kind: K): Promise<Extract<SoakAnswer, { kind: K }>> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ kind, resolve, reject })
    })
  }

  tell(order: SoakOrder): void {
    if (this.alive) this.#child.send(order)
  }

  async stop(): Promise<void> {
    const gone = new Promise(resolve => this.#child.once('exit', resolve))
    this.tell('stop')
    await Promise.race([gone, sleep(20_000)])
    this.#child.kill('SIGKILL')
  }
}

/** Rows that differ, with what must come back. */
async function casesOf(url: string): Promise<Case[]> {
  const client = new InferenceClient(url)
  const cases: Case[] = []
  for (let k = 0; k < 8; k++) {
    const rows = 1 + (k % 3)
    const data = Float32Array.from({ length: rows * 768 }, (_, i) => ((i * 31 + k * 17) % 255) - 127)
    cases.push({
      model: 'scaled',
      inputs: { x: { datatype: 'FP32', shape: [rows, 768], data } },
      check: (y, version) => {
        const wrong = y.findIndex((value, i) => value !== Math.fround(data[i]! * Number(version)))
        return y.length === data.length && wrong < 0
          ? null
          : `version ${version}, element ${wrong} is ${y[wrong] ?? '?'}`
      },
    })
    const image = Float32Array.from({ length: 784 }, (_, i) => ((i * (k + 3)) % 101) / 100)
    const inputs = { image: { datatype: 'FP32', shape: [1, 1, 28, 28], data: image } } as const
    const { outputs } = await client.infer('digits', inputs)
    const expected = outputs['logits']!.data as Float32Array
    cases.push({
      ...{ model: 'digits', inputs },
      check: y => {
        const off = Math.max(...expected.map((value, i) => Math.abs(value - y[i]!)))
        // Kernels for one and for many samples round differently.
        return off < 1e-4 ? null : `off by ${off}`
      },
    })
  }
  return cases
}

/** Requests a second that are answered with so many at a time. */
async function capacity(url: string, cases: readonly Case[], seconds: number): Promise<number> {
  const counts = newCounts()
  const end = performance.now() + seconds * 1000
  await Promise.all(
    Array.from({ length: 16 }, async (_, client) => {
      for (let i = client; performance.now() < end; i++)
        await sendSound(url, cases[i % cases.length]!, counts)
    }),
  )
  if (counts.failed + counts.wrong > 0) throw new Error(counts.problems.join('\n'))
  return counts.answered / seconds
}

export async function soak(options: SoakOptions, say: (line: string) => void): Promise<SoakReport> {
  const root = mkdtempSync(join(tmpdir(), 'swa-onnx-soak-'))
  await publishVersion(root, 1)
  mkdirSync(join(root, 'digits', '1'), { recursive: true })
  copyFileSync(DIGITS, join(root, 'digits', '1', 'model.onnx'))
  const server = new SoakServer(root)
  try {
    const { url } = await server.wait('listening')
    const cases = await casesOf(url)
    await capacity(url, cases, 2)
    const most = await capacity(url, cases, Math.min(5, options.seconds / 4))
    const rate = most * options.load
    say(`${most.toFixed(0)} requests/s at most; ${rate.toFixed(0)} for ${options.seconds} s`)
    return await run(root, server, url, cases, rate, options, say)
  } finally {
    await server.stop()
    rmSync(root, { recursive: true, force: true })
  }
}

async function run(
  root: string,
  server: SoakServer,
  url: string,
  cases: readonly Case[],
  rate: number,
  options: SoakOptions,
  say: (line: string) => void,
): Promise<SoakReport> {
  const counts = newCounts()
  const memory: number[] = []
  const open = new Set<Promise<void>>()
  const track = (work: Promise<void>) => {
    open.add(work)
    void work.finally(() => open.delete(work))
  }
  const started = performance.now()
  const elapsed = () => (performance.now() - started) / 1000
  let [due, hostile, reloads, crashes, looks] = [0, 0, 0, 0, 0]
  const period = options.seconds / 100
  while (elapsed() < options.seconds && server.alive) {
    // Where this machine has other things to do, what cannot be sent is left out, not piled up.
    for (; due < elapsed() * rate; due++) {
      if (open.size < MOST_OPEN) track(sendSound(url, cases[due % cases.length]!, counts))
    }
    for (; hostile < elapsed() * options.hostileRate; hostile++) track(sendHostile(url, hostile, counts))
    if (elapsed() > (reloads + 1) * options.reloadEvery) await publishVersion(root, ++reloads + 1)
    if (elapsed() > (crashes + 1) * options.crashEvery) {
      crashes++
      server.tell('crash')
    }
    if (elapsed() > (looks + 1) * period) {
      looks++
      server.tell('memory')
      const { rss, heap } = await server.wait('memory')
      memory.push(rss / 2 ** 20)
      if (looks % 5 === 0) say(progress(elapsed(), counts, rss, heap))
    }
    await sleep(2)
  }
  await Promise.race([Promise.all(open), sleep(15_000)])
  if (!server.alive) throw new Error('the server ended')
  counts.failed += open.size
  const tenth = Math.max(1, Math.floor(memory.length / 10))
  const [early, late] = [median(memory.slice(tenth, 2 * tenth)), median(memory.slice(-tenth))]
  return {
    ...counts,
    rate,
    reloads,
    crashes: server.crashed,
    memory: { early, late, growth: late / early - 1 },
  }
}

function progress(seconds: number, counts: Counts, rss: number, heap: number): string {
  const { answered, refused, failed, wrong, hostile, hostileWrong } = counts
  const mib = (bytes: number) => (bytes / 2 ** 20).toFixed(0)
  return `${seconds.toFixed(0)} s: ${answered} answered, ${refused} refused, ${failed} failed, ${wrong} wrong; ${hostile} hostile, ${hostileWrong} of them badly answered; ${mib(rss)} MiB (heap ${mib(heap)})`
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1]!
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { values } = parseArgs({
    options: {
      minutes: { type: 'string', default: '30' },
      load: { type: 'string', default: '0.8' },
      reload: { type: 'string', default: '10' },
      crash: { type: 'string', default: '60' },
    },
  })
  const report = await soak(
    {
      seconds: Number(values.minutes) * 60,
      load: Number(values.load),
      reloadEvery: Number(values.reload),
      crashEvery: Number(values.crash),
      hostileRate: 5,
    },
    line => console.error(line),
  )
  const { latencies, ...rest } = report
  latencies.sort((a, b) => a - b)
  const quantile = (q: number) => Number(latencies[Math.floor(q * (latencies.length - 1))]!.toFixed(2))
  console.log(JSON.stringify({ ...rest, p50: quantile(0.5), p99: quantile(0.99) }, null, 2))
  if (report.failed + report.wrong + report.hostileWrong > 0) process.exitCode = 1
}
