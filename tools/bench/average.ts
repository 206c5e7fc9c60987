/**
 * Averages checkpoints by the command line, as built: wall time and peak memory against reading the same files with `cat` and
 * writing one with `dd` (flushed to the disk, as ours), and against other averagers, all in processes of their own, one after
 * the other in each round.
 *
 * Usage: node --import tsx tools/bench/average.ts [--members 10] [--mib 1024] [--dtype F32|F16|BF16] [--rounds 5]
 *        [--python PYTHON] [--mergekit MERGEKIT] [--folder FOLDER]
 *
 * PYTHON has NumPy, PyTorch and safetensors; MERGEKIT is the command mergekit-pytorch. What is not given is left out.
 */

import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync } from 'node:fs'
import { mkdtemp, open, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { numberToBfloat16, numberToFloat16 } from '../../src/tensor/dtype.ts'
import { formatBytes, formatTable } from '../../src/util/format.ts'
import { Random } from '../../src/util/random.ts'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))
const MAIN = join(ROOT, 'dist/cli/main.js')
const PEERS = join(ROOT, 'tools/bench/average_peers.py')
const LAYERS = 16
const COLUMNS = 1024
const POLL_MS = 10

interface Contender {
  readonly name: string
  readonly commands: readonly (readonly string[])[]
}

interface Measured {
  readonly seconds: number
  /** Peak resident bytes of the largest process. */
  readonly peak: number
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      members: { type: 'string', default: '10' },
      mib: { type: 'string', default: '1024' },
      dtype: { type: 'string', default: 'F32' },
      rounds: { type: 'string', default: '5' },
      python: { type: 'string' },
      mergekit: { type: 'string' },
      folder: { type: 'string', default: tmpdir() },
    },
  })
  if (!existsSync(MAIN)) throw new Error('build first: npm run build')
  const folder = await mkdtemp(join(values.folder, 'swa-bench-'))
  try {
    const members = await writeMembers(folder, Number(values.members), Number(values.mib) << 20, values.dtype)
    // What was just written is still on its way to the disk, and would slow down what is measured.
    await measure({ name: 'sync', commands: [['sync']] })
    const contenders = await contendersFor(folder, members, values)
    const results = new Map<string, Measured[]>(contenders.map(({ name }) => [name, []]))
    for (let round = 0; round < Number(values.rounds); round++) {
      for (const contender of contenders) {
        await rm(join(folder, 'out'), { recursive: true, force: true })
        mkdirSync(join(folder, 'out'))
        results.get(contender.name)!.push(await measure(contender))
      }
    }
    const idle = await measure({ name: '', commands: [[process.execPath, MAIN, '--version']] })
    report(`${values.members} members of ${values.mib} MiB, ${values.dtype}`, results, idle)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

async function contendersFor(
  folder: string,
  members: readonly string[],
  { python, mergekit, dtype }: { python?: string | undefined; mergekit?: string | undefined; dtype: string },
): Promise<Contender[]> {
  const out = join(folder, 'out')
  const copy = ['dd', `if=${members[0]!}`, `of=${join(out, 'dd')}`, 'bs=1M', 'status=none']
  const contenders: Contender[] = [
    {
      name: 'cat + dd',
      commands: [
        ['cat', ...members],
        [...copy, 'conv=fsync'],
      ],
    },
    { name: 'cat + dd, not flushed', commands: [['cat', ...members], copy] },
    {
      name: 'swa-onnx average',
      commands: [[process.execPath, MAIN, 'average', ...members, '-o', join(out, 'swa.safetensors')]],
    },
  ]
  for (const peer of python ? ['numpy', 'torch'] : []) {
    const command = [python!, PEERS, peer, join(out, 'peer.safetensors'), ...members]
    contenders.push({ name: peer === 'numpy' ? 'NumPy, float64' : 'PyTorch, float64', commands: [command] })
  }
  if (mergekit) {
    const config = join(folder, 'merge.yaml')
    const names: Readonly<Record<string, string>> = { F32: 'float32', F16: 'float16', BF16: 'bfloat16' }
    const models = members.map(path => `  - model: ${path}\n    parameters: {weight: 1}\n`)
    await writeFile(config, `merge_method: linear\ndtype: ${names[dtype]!}\nmodels:\n${models.join('')}`)
    contenders.push({
      name: 'mergekit, linear',
      commands: [[mergekit, config, join(out, 'merged')]],
    })
  }
  return contenders
}

/** Safetensors of matrices, each in the folder of a model, as mergekit wants them: a common centre plus noise. */
async function writeMembers(folder: string, count: number, bytes: number, dtype: string): Promise<string[]> {
  const random = Random.of(1)
  const numbers = Float32Array.from({ length: 1 << 22 }, () => 0.05 * random.normal())
  const encode = dtype === 'F16' ? numberToFloat16 : numberToBfloat16
  const pool = Buffer.from(dtype === 'F32' ? numbers.buffer : Uint16Array.from(numbers, encode).buffer)
  const width = dtype === 'F32' ? 4 : 2
  const layer = Math.floor(bytes / LAYERS / width / COLUMNS) * width * COLUMNS
  const names = Array.from({ length: LAYERS }, (_, l) => `model.layers.${l}.mlp.down_proj.weight`)
  const entries = names.map((name, l) => [
    name,
    { dtype, shape: [layer / width / COLUMNS, COLUMNS], data_offsets: [l * layer, (l + 1) * layer] },
  ])
  const json = JSON.stringify({ ...Object.fromEntries(entries), __metadata__: { format: 'pt' } })
  const header = Buffer.from(json.padEnd(Math.ceil(json.length / 8) * 8))
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(header.length))
  const paths: string[] = []
  for (let k = 0; k < count; k++) {
    const model = join(folder, `step-${k}`)
    mkdirSync(model)
    await writeFile(
      join(model, 'config.json'),
      JSON.stringify({ architectures: ['LlamaForCausalLM'], model_type: 'llama', num_hidden_layers: LAYERS }),
    )
    paths.push(join(model, 'model.safetensors'))
    const file = await open(paths[k]!, 'w')
    await file.write(Buffer.concat([length, header]))
    let at = ((k * 123_456) % pool.length) & ~7
    for (let left = layer * LAYERS; left > 0; at = 0) {
      const part = Math.min(left, pool.length - at)
      await file.write(pool, at, part)
      left -= part
    }
    await file.close()
  }
  return paths
}

async function measure({ commands }: Contender): Promise<Measured> {
  const start = performance.now()
  let peak = 0
  for (const [command, ...args] of commands) {
    const child = spawn(command!, args, { stdio: ['ignore', 'ignore', 'pipe'] })
    let errors = ''
    child.stderr.on('data', (chunk: Buffer) => (errors += chunk.toString()))
    const poll = setInterval(() => (peak = Math.max(peak, peakOf(child.pid!))), POLL_MS)
    const code = await new Promise<number | null>(resolve => child.on('close', resolve))
    clearInterval(poll)
    if (code !== 0) throw new Error(`${command!}: exit code ${code}: ${errors.slice(-2000)}`)
  }
  return { seconds: (performance.now() - start) / 1000, peak }
}

/** The peak resident bytes of a process; 0 when it is gone. */
function peakOf(pid: number): number {
  try {
    const match = /^VmHWM:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))
    return Number(match?.[1] ?? 0) * 1024
  } catch {
    return 0
  }
}

function report(title: string, results: ReadonlyMap<string, readonly Measured[]>, idle: Measured): void {
  const base = results.get('cat + dd')!
  const own = results.get('swa-onnx average')!
  const median = (numbers: readonly number[]) => [...numbers].sort((a, b) => a - b)[numbers.length >> 1]!
  // Of runs of the same round: the machine's mood is the same.
  const ratio = (a: readonly Measured[], b: readonly Measured[]) =>
    median(a.map(({ seconds }, i) => seconds / b[i]!.seconds))
  const rows = [...results].map(([name, runs]) => [
    name,
    median(runs.map(({ seconds }) => seconds)).toFixed(2),
    Math.min(...runs.map(({ seconds }) => seconds)).toFixed(2),
    ratio(runs, base).toFixed(2),
    ratio(runs, own).toFixed(2),
    formatBytes(Math.max(...runs.map(({ peak }) => peak))),
  ])
  console.log(`${title}; medians of ${base.length} interleaved rounds, page cache warm`)
  console.log(formatTable([['', 's', 'best', 'x cat + dd', 'x ours', 'peak memory'], ...rows]))
  console.log(`the idle process (--version) takes ${formatBytes(idle.peak)}`)
}

await main()
