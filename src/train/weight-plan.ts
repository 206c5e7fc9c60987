/** Which weights train, when and how fast: parameter groups, and the phase before in which the last layer trains alone. */

import type { Graph, Model } from '../ir/graph.ts'
import type { Value } from '../ir/value.ts'
import {
  classifyWeights,
  cloneModel,
  findLogits,
  inlineFunctions,
  liftConstants,
  raiseOpset,
} from '../passes/index.ts'
import { groupWeights } from './groups.ts'
import { headWeights } from './last-layer.ts'
import type { NamedWeight } from './layer-levels.ts'
import type { RunSettings } from './options.ts'
import { PROGRAM_OPSET } from './prepare.ts'
import { lossRequests } from './task.ts'
import type { TrainingSettings } from './training-settings.ts'
import type { ParameterGroup } from './update.ts'

export interface WeightPlan {
  readonly groups: readonly ParameterGroup[]
  /** The first optimizer steps, in which these weights train alone; null without such a phase. */
  readonly headOnly: { readonly steps: number; readonly weights: readonly string[] } | null
}

/** The plan for the trained weights of a graph; `steps`: length of the first phase. */
export function planWeights(
  graph: Graph,
  weights: readonly NamedWeight[],
  logits: () => readonly Value[],
  settings: RunSettings & TrainingSettings,
  steps: number,
): WeightPlan {
  const { headOnly, optimizer } = settings
  const head = headOnly && steps > 0 ? headWeights(graph, weights, logits(), headOnly.also) : null
  const late = { steps, isLate: (name: string) => head !== null && !head.has(name) }
  return {
    groups: groupWeights(graph, weights, optimizer.weightDecay, settings, late),
    headOnly: head && { steps, weights: [...head] },
  }
}

/** The same for a model as it is in its file, before a training graph is made of it. */
export async function planWeightsOf(
  source: Model,
  settings: RunSettings & TrainingSettings,
  steps: number,
): Promise<WeightPlan> {
  const { model } = cloneModel(source)
  inlineFunctions(model)
  liftConstants(model)
  raiseOpset(model, PROGRAM_OPSET)
  const weights = await classifyWeights(model, settings.patterns)
  const logits = () => lossRequests(settings).map(({ output }) => findLogits(model, output).value)
  const trained = weights.filter(({ trainable }) => trainable)
  return planWeights(model.graph, trained, logits, settings, steps)
}
