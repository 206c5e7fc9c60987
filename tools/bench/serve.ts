/**
 * `swa-onnx serve` against a bare loop of onnxruntime-node, and against a Python server of the same model, in turn: samples
 * a second at saturation, and the time that an unloaded server adds to a run.
 *
 * Usage: node --import tsx tools/bench/serve.ts --model name=path:3x224x224 ... [--rows 1,32] [--clients 32] [--rounds 3]
 * [--peer] [--latency]. `--rows`: samples of a request. `--peer` needs Python (PYTHON names the interpreter) with what
 * serve_peer.py says. wrk makes the load. Needs `npm run build`.
 */

import { execFile, spawn, type ChildProcess } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { parseArgs, promisify } from 'node:util'
import { encodeRequest, InferenceClient } from '../../src/serve/client/client.ts'
import type { LoopAnswer } from './serve_loop.ts'
import { median, Side } from './side.ts'

const { values } = parseArgs({
  options: {
    model: { type: 'string', multiple: true, default: [] },
    rows: { type: 'string', default: '1' },
    clients: { type: 'string', default: '32' },
    rounds: { type: 'string', default: '3' },
    peer: { type: 'boolean', default: false },
    latency: { type: 'boolean', default: false },
  },
})
const SECONDS = 4
/** Of load before the first round: so long the JavaScript engine goes on compiling. */
const WARM_UP_SECONDS = 10
const PEER_PORT = 8200
const path = (name: string) => fileURLToPath(new URL(name, import.meta.url))
/** Servers that run: none is left behind, whatever happens. */
const children: ChildProcess[] = []
const folder = mkdtempSync(join(tmpdir(), 'swa-onnx-bench-'))

interface Load {
  /** Requests a second. */
  readonly rate: number
  readonly p50: number
  readonly p99: number
}

/** A request of so many samples: its bytes, and a script of wrk that sends it. */
function makeRequest(input: string, sample: readonly number[], rows: number) {
  const shape = [rows, ...sample]
  const size = shape.reduce((product, dim) => product * dim, 1)
  const data = Float32Array.from({ length: size }, (_, i) => (i % 255) / 255)
  const { header, body } = encodeRequest({ [input]: { datatype: 'FP32', shape, data } })
  const bytes = join(folder, 'request.bin')
  const script = join(folder, 'request.lua')
  writeFileSync(bytes, body)
  writeFileSync(
    script,
    `local f = io.open("${bytes}", "rb")
wrk.method, wrk.body = "POST", f:read("*a")
f:close()
wrk.headers["Inference-Header-Content-Length"] = "${header}"
`,
  )
  return { header, body, script }
}

async function load(url: string, script: string, clients: string, seconds = SECONDS): Promise<Load> {
  const args = ['-t1', `-c${clients}`, `-d${seconds}s`, '--latency', '-s', script, url]
  const { stdout } = await promisify(execFile)('wrk', args)
  if (/Non-2xx/.test(stdout)) throw new Error(`${url}: ${stdout}`)
  const ms = (quantile: string) => {
    const [, value, unit] = new RegExp(`${quantile}%\\s+([\\d.]+)(us|ms|s)`).exec(stdout)!
    return Number(value) * { us: 1e-3, ms: 1, s: 1e3 }[unit as 'us' | 'ms' | 's']
  }
  return { rate: Number(/Requests\/sec:\s+([\d.]+)/.exec(stdout)![1]), p50: ms('50'), p99: ms('99') }
}

/** One request after the other over one connection: milliseconds of each. */
function latency(port: number, name: string, header: number, body: Uint8Array): Promise<Load> {
  const head = `POST /v2/models/${name}/infer HTTP/1.1\r\nHost: bench\r\nContent-Length: ${body.byteLength}\r\nInference-Header-Content-Length: ${header}\r\n\r\n`
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1')
    socket.setNoDelay(true)
    const times: number[] = []
    let sent = 0
    const started = performance.now()
    const send = () => {
      sent = performance.now()
      socket.cork()
      socket.write(head)
      socket.write(body)
      socket.uncork()
    }
    // Answers are small: one piece each.
    socket.on('data', () => {
      times.push(performance.now() - sent)
      if (performance.now() - started < SECONDS * 1000) {
        send()
        return
      }
      socket.end()
      const kept = times.slice(times.length >> 2).sort((a, b) => a - b)
      const quantile = (q: number) => kept[Math.floor(q * (kept.length - 1))]!
      resolve({ rate: times.length / SECONDS, p50: quantile(0.5), p99: quantile(0.99) })
    })
    socket.on('error', reject)
    send()
  })
}

async function startServer(name: string, model: string): Promise<{ child: ChildProcess; url: string }> {
  const child = spawn(
    process.execPath,
    [
      path('../../dist/cli/main.js'),
      'serve',
      `${name}=${model}`,
      '--port',
      '0',
      '--log-level',
      'error',
      '--json',
    ],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  )
  children.push(child)
  let text = ''
  for await (const chunk of child.stdout) {
    text += String(chunk)
    const url = /"url": "([^"]+)"/.exec(text)?.[1]
    if (url) return { child, url: url.replace(/\/$/, '') }
  }
  throw new Error('the server did not start')
}

async function startPeer(model: string): Promise<ChildProcess> {
  const child = spawn(process.env['PYTHON'] ?? 'python3', [path('serve_peer.py'), model, String(PEER_PORT)], {
    stdio: 'inherit',
  })
  children.push(child)
  for (let i = 0; i < 100; i++) {
    await sleep(200)
    if (
      await fetch(`http://127.0.0.1:${PEER_PORT}/`).then(
        () => true,
        () => false,
      )
    )
      return child
    if (child.exitCode !== null) break
  }
  throw new Error('the peer did not start: set PYTHON to an interpreter that has what serve_peer.py needs')
}

/** Samples of a run of the server, since the last call. */
async function meanBatch(client: InferenceClient, before: { items: number; runs: number }): Promise<number> {
  const [statistics] = await client.statistics()
  const { inference_count: items, execution_count: runs } = statistics!
  const mean = (items - before.items) / Math.max(1, runs - before.runs)
  Object.assign(before, { items, runs })
  return mean
}

const of = <T>(answers: readonly T[], value: (answer: T) => number) => median(answers.map(value))
const fixed = (value: number) => value.toPrecision(4)

async function compare(name: string, model: string, sample: readonly number[], rows: number): Promise<void> {
  const { child, url } = await startServer(name, model)
  const peer = values.peer ? await startPeer(model) : null
  const client = new InferenceClient(url)
  const { inputs } = await client.modelMetadata(name)
  const loop = new Side<object, LoopAnswer>('loop', process.execPath, [
    ...['--import', 'tsx', path('serve_loop.ts'), model, inputs[0]!.name, sample.join('x')],
  ])
  await loop.ready()
  const { header, body, script } = makeRequest(inputs[0]!.name, sample, rows)
  const target = (base: string) => `${base}/v2/models/${name}/infer`
  const served: Load[] = []
  const others: Load[] = []
  const batches: number[] = []
  const seen = { items: 0, runs: 0 }
  if (!values.latency) await load(target(url), script, values.clients, WARM_UP_SECONDS)
  await meanBatch(client, seen)
  for (let round = 0; round < Number(values.rounds); round++) {
    if (values.latency) {
      await loop.ask('1')
      served.push(await latency(Number(new URL(url).port), name, header, body))
      continue
    }
    served.push(await load(target(url), script, values.clients))
    batches.push(Math.max(1, Math.round(await meanBatch(client, seen))))
    await loop.ask(String(batches.at(-1)))
    if (peer) others.push(await load(target(`http://127.0.0.1:${PEER_PORT}`), script, values.clients))
  }
  const bare = loop.answers
  if (values.latency) {
    const added = (q: 'p50' | 'p99') => of(served, s => s[q]) - of(bare, b => b[q])
    console.log(
      `${name}: a request of ${body.byteLength} bytes takes p50 ${fixed(of(served, s => s.p50))} ms, p99 ${fixed(of(served, s => s.p99))} ms; the bare run ${fixed(of(bare, b => b.p50))} and ${fixed(of(bare, b => b.p99))}: added ${fixed(added('p50'))} and ${fixed(added('p99'))} ms`,
    )
  } else {
    const rate = of(served, s => s.rate) * rows
    console.log(
      `${name}, ${rows} a request: ${fixed(rate)} samples/s (runs of ${median(batches)}, p50 ${fixed(of(served, s => s.p50))} ms, p99 ${fixed(of(served, s => s.p99))} ms); bare loop of the same runs ${fixed(of(bare, b => b.rate))}: ${(rate / of(bare, b => b.rate)).toFixed(2)} of it`,
    )
    if (peer) {
      const other = of(others, o => o.rate) * rows
      console.log(
        `  FastAPI: ${fixed(other)} samples/s, p50 ${fixed(of(others, o => o.p50))} ms, p99 ${fixed(of(others, o => o.p99))} ms: ${(rate / other).toFixed(2)} times its rate, ${(of(served, s => s.p99) / of(others, o => o.p99)).toFixed(2)} times its p99`,
      )
    }
  }
  await loop.close()
  child.kill('SIGTERM')
  peer?.kill('SIGTERM')
}

try {
  for (const text of values.model) {
    const [, name, model, dims] = /^([\w-]+)=(.+):([\dx]+)$/.exec(text)!
    for (const rows of values.rows.split(',')) {
      await compare(name!, model!, dims!.split('x').map(Number), Number(rows))
    }
  }
} finally {
  for (const child of children) child.kill('SIGTERM')
  rmSync(folder, { recursive: true, force: true })
}
