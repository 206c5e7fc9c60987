/** What a produced file says about how it was made. */

import { VERSION } from '../util/version.ts'
import { sortMembers, type MemberRecord } from './members.ts'
import type { Method } from './methods.ts'
import type { AveragePlan } from './plan.ts'

/** Entries for `metadata_props` of ONNX files and `__metadata__` of safetensors. */
export function averageMetadata(
  plan: Pick<AveragePlan, 'title' | 'method' | 'files'>,
  records: readonly (Omit<MemberRecord, 'digest'> & { readonly digest?: string })[],
): Map<string, string> {
  const members = sortMembers(records)
  const weighted = members.some(({ weight }) => weight !== members[0]!.weight)
  const list = members.map(({ name, digest, weight }) => ({ name, digest, ...(weighted ? { weight } : {}) }))
  return new Map([
    ['swa_onnx.version', VERSION],
    ['swa_onnx.method', plan.title],
    ...parametersOf(plan.method),
    ['swa_onnx.count', String(members.length)],
    ['swa_onnx.members', JSON.stringify(list)],
  ])
}

/** What a method was told, as JSON; nothing for a mean. */
function parametersOf({ kind: _kind, ...parameters }: Method): [string, string][] {
  return Object.keys(parameters).length === 0 ? [] : [['swa_onnx.parameters', JSON.stringify(parameters)]]
}
