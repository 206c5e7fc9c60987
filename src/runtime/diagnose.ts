/** What works on this machine: every engine is tried, and what is missing is named with its cure. */

import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { availableParallelism, cpus, freemem, totalmem } from 'node:os'
import { join } from 'node:path'
import { autoChoice, ENGINE_NAMES, type EngineReport } from './engines.ts'
import { probeInChild } from './probe-in-child.ts'

export interface MachineReport {
  readonly platform: string
  readonly processor: string
  readonly cores: number
  readonly memoryBytes: number
  readonly freeMemoryBytes: number
  /** Of Node.js and of the packages that engines are made of; null: not installed. */
  readonly versions: Readonly<Record<string, string | null>>
  /** In the order in which `auto` tries them. */
  readonly engines: readonly EngineReport[]
  /** What `--engine auto` takes here. */
  readonly auto: { readonly name: string; readonly reason: string }
}

/** Packages that engines are made of. */
const PACKAGES = ['onnxruntime-node', 'onnxruntime-web', '@tensorflow/tfjs-core', '@tensorflow/tfjs-node-gpu']

/** Runs the checks; each engine is tried in a process of its own, so that a crashing one harms nobody. */
export async function diagnose(): Promise<MachineReport> {
  const engines = await Promise.all(ENGINE_NAMES.map(name => probeInChild(name, { device: 0 })))
  return {
    platform: `${process.platform}-${process.arch}`,
    processor: cpus()[0]?.model.trim() ?? 'unknown',
    cores: availableParallelism(),
    memoryBytes: totalmem(),
    freeMemoryBytes: freemem(),
    versions: {
      node: process.version.slice(1),
      ...Object.fromEntries(PACKAGES.map(name => [name, versionOf(name)])),
    },
    engines,
    auto: autoChoice(engines),
  }
}

/** The version of an installed package. Its package.json is looked for where Node would, for some do not export it. */
export function versionOf(name: string): string | null {
  for (const folder of createRequire(import.meta.url).resolve.paths(name) ?? []) {
    try {
      return (JSON.parse(readFileSync(join(folder, name, 'package.json'), 'utf8')) as { version: string })
        .version
    } catch {
      // Not in this folder.
    }
  }
  return null
}
