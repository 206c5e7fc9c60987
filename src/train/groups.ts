/**
 * Parameter groups: which weights learn at which share of the learning rate, and decay how. Decay is for what multiplies
 * activations; biases and the scales of norms are left alone, as it is done in practice (timm, Hugging Face).
 */

import type { Graph } from '../ir/graph.ts'
import { ONNX_DOMAIN } from '../ir/node.ts'
import { usesOf, type Use } from '../ir/topology.ts'
import type { Value } from '../ir/value.ts'
import { checkPatterns, finalUses, matchesPattern, variableValues } from '../passes/index.ts'
import { UsageError } from '../util/errors.ts'
import { layerLevels, type NamedWeight } from './layer-levels.ts'
import type { GroupSettings, PatternValue } from './training-settings.ts'
import type { ParameterGroup } from './update.ts'

/** Weights that begin to train later than the run: `steps` optimizer steps after its start. */
export interface LateWeights {
  readonly steps: number
  isLate(name: string): boolean
}

/** Sorts the trained weights of a graph into groups; the first group holds the first weight. */
export function groupWeights(
  graph: Graph,
  weights: readonly NamedWeight[],
  weightDecay: number,
  settings: GroupSettings,
  late: LateWeights = { steps: 0, isLate: () => false },
): ParameterGroup[] {
  checkSettings(settings, weights)
  const { decayAll, lrOf, weightDecayOf, layerDecay } = settings
  const decays = decayAll ? () => true : decayRule(graph)
  const scaleOf = layerDecay === 1 ? () => 1 : layerScales(graph, weights, layerDecay)
  const groups = new Map<string, ParameterGroup & { parameters: string[] }>()
  for (const { name, value } of weights) {
    const numbers = {
      lr: scaleOf(name) * (lastMatch(lrOf, name) ?? 1),
      weightDecay: lastMatch(weightDecayOf, name) ?? (decays(value) ? weightDecay : 0),
      after: late.isLate(name) ? late.steps : 0,
    }
    const key = JSON.stringify(numbers)
    const group = groups.get(key)
    if (group) group.parameters.push(name)
    else groups.set(key, { ...numbers, parameters: [name] })
  }
  return [...groups.values()]
}

/** The groups of some of the parameters, for a program that trains only these. */
export function groupsWithin(
  groups: readonly ParameterGroup[],
  names: ReadonlySet<string>,
): ParameterGroup[] {
  return groups.flatMap(group => {
    const parameters = group.parameters.filter(name => names.has(name))
    return parameters.length > 0 ? { ...group, parameters } : []
  })
}

function checkSettings(settings: GroupSettings, weights: readonly NamedWeight[]): void {
  const { lrOf, weightDecayOf, layerDecay } = settings
  if (!(layerDecay > 0 && layerDecay <= 1))
    throw new UsageError(`--layer-decay: expected a number above 0 and up to 1, found ${layerDecay}`)
  const names = weights.map(({ name }) => name)
  for (const [option, values] of [
    ['--lr-of', lrOf],
    ['--weight-decay-of', weightDecayOf],
  ] as const) {
    checkPatterns(
      option,
      values.map(({ pattern }) => pattern),
      names,
    )
    for (const { pattern, value } of values) {
      if (Number.isFinite(value) && value >= 0) continue
      throw new UsageError(`${option} ${pattern}=${value}: expected a number of 0 or more`)
    }
  }
}

function lastMatch(values: readonly PatternValue[], name: string): number | undefined {
  return values.findLast(({ pattern }) => matchesPattern(pattern, name))?.value
}

/** layerDecay to the power of the number of layers behind a weight's own (as in BEiT; Bao et al. 2022). */
function layerScales(
  graph: Graph,
  weights: readonly NamedWeight[],
  layerDecay: number,
): (name: string) => number {
  const levels = layerLevels(graph, weights)
  const last = Math.max(...levels.values())
  return name => layerDecay ** (last - levels.get(name)!)
}

type InputTable = Readonly<Record<string, readonly number[]>>

/** Inputs that are matrices or kernels, also where they have one row only. */
const MATRICES: InputTable = {
  Conv: [1],
  ConvTranspose: [1],
  DeformConv: [1],
  Gemm: [0, 1],
  MatMul: [0, 1],
}

/** Inputs that are biases, also where their shape is that of a matrix: recurrent operators have a row a direction. */
const BIASES: InputTable = { Gemm: [2], LSTM: [3], GRU: [3], RNN: [3] }

/** Whether a weight decays: what a matrix product or a convolution takes, and whatever else has two axes or more. */
function decayRule(graph: Graph): (weight: Value) => boolean {
  const uses = usesOf(graph)
  const changing = variableValues(graph)
  const isOneOf = (inputs: InputTable) => (use: Use) =>
    use.node.domain === ONNX_DOMAIN && (inputs[use.node.opType]?.includes(use.index) ?? false)
  const [isMatrix, isBias] = [isOneOf(MATRICES), isOneOf(BIASES)]
  return weight => {
    const ends = finalUses(weight, uses, changing, () => false)
    if (ends.some(isMatrix)) return true
    return weight.shape.filter(dim => dim > 1).length > 1 && !ends.some(isBias)
  }
}
