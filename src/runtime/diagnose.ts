/** What works on this machine: each engine is tried with a one-node model, and what is missing is named with its cure. */

import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { availableParallelism, cpus, freemem, totalmem } from 'node:os'
import { dirname, join } from 'node:path'
import { Builder } from '../ir/builder.ts'
import { Graph, Model } from '../ir/graph.ts'
import { ONNX_DOMAIN } from '../ir/node.ts'
import { Value } from '../ir/value.ts'
import { serializeModel } from '../serde/index.ts'
import { Tensor } from '../tensor/tensor.ts'
import { messageOf } from '../util/errors.ts'
import { openRunner } from './ort/session.ts'

export interface EngineReport {
  readonly name: string
  readonly works: boolean
  /** What was found, or the engine's own words for what is missing. */
  readonly found: string
  /** The command or step that makes it work. */
  readonly cure: string | null
}

export interface MachineReport {
  readonly node: string
  readonly platform: string
  readonly processor: string
  readonly cores: number
  readonly memoryBytes: number
  readonly freeMemoryBytes: number
  readonly onnxruntime: string
  readonly engines: readonly EngineReport[]
}

/** Runs the checks; each engine gets a session thread of its own, so that a failing one harms nobody. */
export async function diagnose(): Promise<MachineReport> {
  return {
    node: process.version,
    platform: `${process.platform}-${process.arch}`,
    processor: cpus()[0]?.model.trim() ?? 'unknown',
    cores: availableParallelism(),
    memoryBytes: totalmem(),
    freeMemoryBytes: freemem(),
    onnxruntime: onnxruntimeVersion(),
    engines: await Promise.all(PROBES.map(tryEngine)),
  }
}

interface Probe {
  readonly name: string
  readonly provider: string
  readonly cure: () => string | null
}

const CUDA_LIBRARY = 'libonnxruntime_providers_cuda.so'

const PROBES: readonly Probe[] = [
  { name: 'cpu', provider: 'cpu', cure: () => 'run `npm install onnxruntime-node`' },
  { name: 'cuda', provider: 'cuda', cure: cudaCure },
  { name: 'webgpu', provider: 'webgpu', cure: webgpuCure },
]

async function tryEngine({ name, provider, cure }: Probe): Promise<EngineReport> {
  try {
    const runner = await openRunner(await probeModel(), [provider], {})
    const [result] = (await runner.run(new Map([['x', Tensor.of('float32', [2], [1, -2])]]))).values()
    await runner.close()
    const right = result?.toNumbers().join() === '2,-4'
    if (right) return { name, works: true, found: 'a small model ran and gave the right numbers', cure: null }
    return {
      name,
      works: false,
      found: `a small model gave ${result?.toNumbers().join() ?? 'nothing'}, expected 2,-4`,
      cure: null,
    }
  } catch (error) {
    return { name, works: false, found: messageOf(error).split('\n')[0]!, cure: cure() }
  }
}

/** y = x + x. */
async function probeModel(): Promise<Uint8Array> {
  const op = new Builder()
  const graph = new Graph('probe')
  const x = Value.typed('x', 'float32', [2])
  graph.inputs = [x]
  graph.outputs = [op.Add(x, x)]
  graph.nodes = op.nodes
  return serializeModel(new Model(graph, 8, new Map([[ONNX_DOMAIN, 18]])))
}

function cudaCure(): string {
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    return `onnxruntime-node has CUDA libraries for linux-x64 only, this is ${process.platform}-${process.arch}; use webgpu or cpu`
  }
  const folder = nativeFolder()
  if (folder && !existsSync(join(folder, CUDA_LIBRARY))) {
    return 'run `npm rebuild onnxruntime-node --onnxruntime-node-install=cuda12`; it needs an NVIDIA driver, CUDA 12 and cuDNN 9'
  }
  return 'install CUDA 12 and cuDNN 9 and put their libraries on LD_LIBRARY_PATH; `nvidia-smi` should list a GPU'
}

function webgpuCure(): string {
  if (process.platform === 'linux')
    return 'install a Vulkan driver for your GPU (on Debian: `apt install mesa-vulkan-drivers libvulkan1`)'
  return 'update the graphics driver'
}

function packageFolder(): string | null {
  try {
    return dirname(createRequire(import.meta.url).resolve('onnxruntime-node/package.json'))
  } catch {
    return null
  }
}

function nativeFolder(): string | null {
  const folder = packageFolder()
  return folder && join(folder, 'bin', 'napi-v6', process.platform, process.arch)
}

function onnxruntimeVersion(): string {
  const folder = packageFolder()
  if (!folder) return 'not installed'
  return (createRequire(import.meta.url)(join(folder, 'package.json')) as { version: string }).version
}
