/**
 * A side of serve.ts: one session of onnxruntime-node, without anything around it. Each line of input is a number of samples:
 * so many share a run, for two seconds; the answer is their rate and the times of the runs.
 *
 * Usage: serve_loop.ts <model> <input> <dims of one sample, 3x224x224>
 */

import { createInterface } from 'node:readline'
import { disableTelemetry } from '../../src/runtime/ort/telemetry.ts'
import { say } from './side.ts'

const [path, input, sizes] = process.argv.slice(2) as [string, string, string]
const sample = sizes.split('x').map(Number)
const SECONDS = 2

export interface LoopAnswer {
  /** Samples a second. */
  readonly rate: number
  /** Milliseconds of a run. */
  readonly p50: number
  readonly p99: number
}

disableTelemetry()
const { InferenceSession, Tensor } = await import('onnxruntime-node')
const session = await InferenceSession.create(path, { logSeverityLevel: 3 })
say({ inputs: session.inputNames })

async function measure(size: number): Promise<LoopAnswer> {
  const dims = [size, ...sample]
  const elements = dims.reduce((product, dim) => product * dim, 1)
  const data = Float32Array.from({ length: elements }, (_, i) => (i % 255) / 255)
  const run = () => session.run({ [input]: new Tensor('float32', data, dims) })
  for (let i = 0; i < 3; i++) await run()
  const times: number[] = []
  const started = performance.now()
  while (performance.now() - started < SECONDS * 1000) {
    const before = performance.now()
    await run()
    times.push(performance.now() - before)
  }
  const rate = (times.length * size) / ((performance.now() - started) / 1000)
  times.sort((a, b) => a - b)
  const quantile = (q: number) => times[Math.floor(q * (times.length - 1))]!
  return { rate, p50: quantile(0.5), p99: quantile(0.99) }
}

for await (const line of createInterface({ input: process.stdin })) say(await measure(Number(line)))
