/** The fingerprint of a graph: equal for checkpoints of one model, different for everything else. */

import { createHash } from 'node:crypto'
import type { Model } from '../ir/graph.ts'
import { describeModel, type Fact } from './graph-description.ts'

/** SHA-256 of the facts about a graph (graph-description.ts), one a line; places are left out, as they hold node names. */
export function fingerprintOf(facts: readonly Fact[]): string {
  const hash = createHash('sha256')
  for (const { subject, text } of facts) hash.update(`${JSON.stringify([subject, text])}\n`)
  return hash.digest('hex')
}

/** The fingerprint of a model's graph: operators, topology, attributes, opsets, types and fixed tensors, not weights. */
export async function graphFingerprint(model: Model): Promise<string> {
  return fingerprintOf(await describeModel(model))
}
