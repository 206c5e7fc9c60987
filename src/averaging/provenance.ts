/** What a produced file says about how it was made. */

import { VERSION } from '../util/version.ts'
import { sortMembers, type MemberRecord } from './members.ts'
import type { AveragePlan } from './plan.ts'

/** Entries for `metadata_props` of ONNX files and `__metadata__` of safetensors. */
export function averageMetadata(
  plan: Pick<AveragePlan, 'method'>,
  records: readonly MemberRecord[],
): Map<string, string> {
  const members = sortMembers(records)
  const weighted = plan.method === 'weighted mean'
  const list = members.map(({ name, digest, weight }) => ({ name, digest, ...(weighted ? { weight } : {}) }))
  return new Map([
    ['swa_onnx.version', VERSION],
    ['swa_onnx.method', plan.method],
    ['swa_onnx.count', String(members.length)],
    ['swa_onnx.members', JSON.stringify(list)],
  ])
}
