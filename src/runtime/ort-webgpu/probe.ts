/**
 * Whether WebGPU works here. A graphics driver can end the process that opens it, and a session thread is in this one:
 * the trial has a process of its own, which takes about half a second longer.
 */

import { fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { messageOf } from '../../util/errors.ts'
import type { EngineReport } from '../engines.ts'
import { disableTelemetry } from '../ort/telemetry.ts'
import { adapterOf, LOADER_TALKS, type Adapter } from './adapter.ts'

/** A driver that compiles the first shader from scratch takes seconds; one that hangs is given up after this. */
const PATIENCE_MS = 60_000

/** Sources run under a loader for TypeScript, the package as JavaScript. */
const CHILD = fileURLToPath(
  new URL(`./probe-process.${import.meta.url.endsWith('.ts') ? 'ts' : 'js'}`, import.meta.url),
)

export async function probeWebgpu(): Promise<EngineReport> {
  const { problem, adapter } = await trial()
  const works = problem === null
  const on = adapter.name === null ? '' : ` on ${adapter.name}`
  const software = adapter.software ? ', a software adapter: it computes on the CPU' : ''
  return {
    name: 'webgpu',
    works,
    found: works ? `a small model ran${on} and gave the right numbers${software}` : problem,
    cure: works ? null : cureFor(process.platform, process.arch),
    accelerated: works && !adapter.software,
  }
}

interface Trial {
  /** What went wrong; null where nothing did. */
  readonly problem: string | null
  readonly adapter: Adapter
}

function trial(): Promise<Trial> {
  disableTelemetry()
  return new Promise(resolve => {
    const env = { ...process.env, ...LOADER_TALKS }
    const child = fork(CHILD, { env, stdio: ['ignore', 'pipe', 'pipe', 'ipc'] })
    const text = { stdout: '', stderr: '' }
    for (const stream of ['stdout', 'stderr'] as const) {
      child[stream]!.setEncoding('utf8').on('data', (piece: string) => (text[stream] += piece))
    }
    const timer = setTimeout(() => child.kill('SIGKILL'), PATIENCE_MS)
    const end = (problem: string | null) => {
      clearTimeout(timer)
      resolve({ problem, adapter: adapterOf(text.stderr, process.env) })
    }
    child.on('error', error => end(`the trial process could not be started: ${messageOf(error)}`))
    child.on('close', (code, signal) => end(problemOf(text.stdout, code, signal)))
  })
}

function problemOf(stdout: string, code: number | null, signal: NodeJS.Signals | null): string | null {
  if (signal === 'SIGKILL') return `it gave no answer within ${PATIENCE_MS / 1000} s`
  if (signal !== null) return `the graphics driver ended the trial process (${signal})`
  try {
    const { problem } = JSON.parse(stdout) as { problem: string | null }
    // The engine's own words, without the place in its sources.
    return problem?.replace(/^.* was false\. /, '') ?? null
  } catch {
    return `the trial process ended without an answer (code ${code ?? '?'})`
  }
}

/** Platforms for which the npm package of ONNX Runtime has no WebGPU provider. */
const WITHOUT: Readonly<Record<string, string>> = {
  'linux-arm64': 'onnxruntime-node has no WebGPU provider for linux-arm64; use cpu',
  'darwin-x64': 'onnxruntime-node has no binary for Macs with Intel processors; use another machine',
}

const CURES: Readonly<Partial<Record<NodeJS.Platform, string>>> = {
  linux:
    'install a Vulkan driver for your GPU: on Debian and Ubuntu `apt install libvulkan1 mesa-vulkan-drivers`; for an NVIDIA GPU its own driver, whose nvidia_icd.json must be in /usr/share/vulkan/icd.d (in containers: NVIDIA_DRIVER_CAPABILITIES=all)',
  darwin: 'update macOS, which brings the graphics driver',
  win32: 'update the graphics driver; Direct3D 12 is needed',
}

/** What makes WebGPU work on a platform. */
export function cureFor(platform: NodeJS.Platform, arch: string): string {
  return (
    WITHOUT[`${platform}-${arch}`] ??
    CURES[platform] ??
    `onnxruntime-node has no WebGPU provider for ${platform}-${arch}; use cpu`
  )
}
