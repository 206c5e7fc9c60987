/** The contract of a pass: it edits the model in place and says whether it changed anything. */

import type { Model } from '../ir/graph.ts'

export interface PassResult {
  readonly model: Model
  readonly modified: boolean
}

export type Pass = (model: Model) => PassResult
