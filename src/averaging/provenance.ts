/** What a produced file says about how it was made. */

import { createRequire } from 'node:module'
import { sortMembers } from './members.ts'
import type { AveragePlan } from './plan.ts'

/** The version in package.json, which is two folders above this file in the sources and in the build. */
export function toolVersion(): string {
  const manifest = createRequire(import.meta.url)('../../package.json') as { version: string }
  return manifest.version
}

/** Entries for `metadata_props` of ONNX files and `__metadata__` of safetensors. */
export function averageMetadata(plan: AveragePlan): Map<string, string> {
  const members = sortMembers(plan.files.flatMap(file => file.members))
  const weighted = plan.method === 'weighted mean'
  const list = members.map(({ name, sha256, weight }) => ({ name, sha256, ...(weighted ? { weight } : {}) }))
  return new Map([
    ['swa_onnx.version', toolVersion()],
    ['swa_onnx.method', plan.method],
    ['swa_onnx.count', String(members.length)],
    ['swa_onnx.members', JSON.stringify(list)],
  ])
}
