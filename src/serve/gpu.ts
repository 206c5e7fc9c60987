/** What NVIDIA's tool says of the cards, for the metrics. Source: nvidia-smi --help-query-gpu. */

import { execFile } from 'node:child_process'
import { promisify } from 'node:util'

export interface GpuState {
  readonly index: string
  /** Bytes. */
  readonly used: number
  readonly total: number
  /** 0 to 1. */
  readonly utilization: number
}

const QUERY = ['--query-gpu=index,memory.used,memory.total,utilization.gpu', '--format=csv,noheader,nounits']
/** The tool takes a tenth of a second and more; who asks often gets the last answer. */
const FRESH_MS = 5000

let last: { readonly at: number; readonly states: Promise<readonly GpuState[]> } | null = null

/** The cards; none where there is no such tool. */
export function gpuStates(): Promise<readonly GpuState[]> {
  if (last === null || performance.now() - last.at > FRESH_MS) {
    last = { at: performance.now(), states: ask().catch(() => []) }
  }
  return last.states
}

async function ask(): Promise<readonly GpuState[]> {
  const { stdout } = await promisify(execFile)('nvidia-smi', QUERY, { timeout: 5000 })
  return parseStates(stdout)
}

/** `0, 1024, 81559, 37` a line: index, MiB, MiB, percent. */
export function parseStates(text: string): GpuState[] {
  return text
    .trim()
    .split('\n')
    .map(line => line.split(',').map(part => part.trim()))
    .filter(parts => parts.length === 4)
    .map(([index, used, total, utilization]) => ({
      index: index!,
      used: Number(used) * 2 ** 20,
      total: Number(total) * 2 ** 20,
      utilization: Number(utilization) / 100,
    }))
}
