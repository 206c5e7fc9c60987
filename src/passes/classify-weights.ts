/** Decides for every weight of a model whether it is trained, recomputed or left alone, and says why. */

import { UsageError } from '../util/errors.ts'
import { DTYPES, type DType } from '../tensor/dtype.ts'
import type { Shape } from '../tensor/shape.ts'
import type { Tensor } from '../tensor/tensor.ts'
import type { Graph, Model } from '../ir/graph.ts'
import type { Node } from '../ir/node.ts'
import { usesOf, type Use } from '../ir/topology.ts'
import type { Value } from '../ir/value.ts'
import { holdsFor } from './fresh-weights.ts'
import { variableValues } from './dependence.ts'
import { tensorOf, weightOrigins, type WeightOrigin } from './lift-constants.ts'
import { checkPatterns, matchesPattern } from './patterns.ts'
import { isTelling, judgeUse, type Judgement, type NamedTensor, type WeightRole } from './weight-roles.ts'
import { finalUses, type WeightUse } from './weight-uses.ts'

export interface WeightInfo {
  /** The value's name; prefixed by the node around it where two sub-graphs use the same name. */
  readonly name: string
  readonly value: Value
  readonly tensor: Tensor
  readonly dtype: DType
  readonly dims: Shape
  readonly origin: WeightOrigin
  /** The node whose sub-graph holds the weight; null for weights of the main graph. */
  readonly within: Node | null
  readonly role: WeightRole
  /** Why it has this role, in a few words. */
  readonly reason: string
  /** The nodes at which it meets activations. */
  readonly users: readonly Node[]
  /** Whether a training program may change it: a parameter that is not frozen and not out of reach. */
  readonly trainable: boolean
}

/** Name patterns that override the decision; `train` wins over `freeze`, which wins over `constant`. */
export interface WeightPatterns {
  readonly train?: readonly string[]
  readonly freeze?: readonly string[]
  readonly constant?: readonly string[]
  /** Weights of a new head: patterns of `freeze` and `constant` that match other weights too leave them alone. */
  readonly fresh?: readonly string[]
}

const TRAINABLE: ReadonlySet<DType> = new Set(['float32', 'float16', 'bfloat16', 'float64'])

/** Lists the weights of a model: initializers and Constant nodes, of the main graph and of sub-graphs. */
export async function classifyWeights(model: Model, patterns: WeightPatterns = {}): Promise<WeightInfo[]> {
  const uses = usesOf(model.graph)
  const changing = variableValues(model.graph)
  const infos: WeightInfo[] = []
  const taken = new Set<string>()
  for (const { graph, within } of graphsWithOwners(model.graph)) {
    for (const [value, origin] of weightOrigins(graph)) {
      const tensor = tensorOf(value)!
      const ends = finalUses(value, uses, changing, use => isTelling(tensor.size, use))
      const pathNamed = model.producerName === 'pytorch' && origin.kind === 'initializer'
      const { role, reason } = await judgeWeight({ name: value.name, tensor, pathNamed }, ends, uses)
      const name = freeName(value.name, within, taken)
      taken.add(name)
      const { dtype, dims } = tensor
      const users = [...new Set(ends.map(use => use.node))]
      const obstacle = role === 'parameter' ? obstacleTo(dtype, origin, within) : null
      infos.push({
        ...{ name, value, tensor, dtype, dims, origin, within, role, users },
        reason: obstacle === null ? reason : `${reason}; not trained: ${obstacle}`,
        trainable: role === 'parameter' && obstacle === null,
      })
    }
  }
  return applyPatterns(infos, patterns)
}

/** The value's name, or one with the node around it where another weight is named so (as averaging names them). */
function freeName(name: string, within: Node | null, taken: ReadonlySet<string>): string {
  if (!taken.has(name)) return name
  const around = within?.name || within?.outputs.find(output => output)?.name
  const wanted = around ? `${around}/${name}` : name
  let free = wanted
  for (let i = 2; taken.has(free); i++) free = `${wanted}#${i}`
  return free
}

function* graphsWithOwners(
  graph: Graph,
  within: Node | null = null,
): Iterable<{ graph: Graph; within: Node | null }> {
  yield { graph, within }
  for (const node of graph.nodes) {
    for (const subgraph of node.subgraphs()) yield* graphsWithOwners(subgraph, node)
  }
}

/** One role out of all uses: a statistic stays one whoever else reads it, and one learned use makes a parameter. */
const PRECEDENCE: readonly WeightRole[] = ['buffer', 'parameter', 'constant']

async function judgeWeight(
  weight: NamedTensor,
  ends: readonly WeightUse[],
  uses: ReadonlyMap<Value, readonly Use[]>,
): Promise<Judgement> {
  const { name, tensor } = weight
  if (name.endsWith('num_batches_tracked')) return { role: 'buffer', reason: 'counter' }
  if (!DTYPES[tensor.dtype].float) return { role: 'constant', reason: `elements are ${tensor.dtype}` }
  if (ends.length === 0) return { role: 'constant', reason: 'read by no node' }
  const judgements: Judgement[] = []
  for (const use of ends) judgements.push(await judgeUse(weight, use, uses))
  const role = PRECEDENCE.find(candidate => judgements.some(judgement => judgement.role === candidate))!
  const reasons = new Set(judgements.filter(judgement => judgement.role === role).map(({ reason }) => reason))
  const [first] = reasons
  return { role, reason: reasons.size > 1 ? `${first!} and ${reasons.size - 1} more` : first! }
}

/** What keeps a parameter from being trained, if anything. */
function obstacleTo(dtype: DType, origin: WeightOrigin, within: Node | null): string | null {
  if (within) return `inside a sub-graph of ${within.label}`
  if (!TRAINABLE.has(dtype)) return `elements are ${dtype}`
  if (origin.tensor === null) return `stored as the attribute ${origin.attribute ?? '?'} of a Constant node`
  return null
}

function applyPatterns(infos: readonly WeightInfo[], patterns: WeightPatterns): WeightInfo[] {
  const { train = [], freeze = [], constant = [], fresh = [] } = patterns
  const names = infos.map(info => info.name)
  checkPatterns('--train', train, names)
  checkPatterns('--freeze', freeze, names)
  checkPatterns('--constant', constant, names)
  const trained = trainedByHand(infos, train)
  return infos.map(info => {
    const byHand = trained.get(info)
    if (byHand !== undefined) {
      return info.trainable
        ? info
        : { ...info, role: 'parameter' as const, trainable: true, reason: `--train "${byHand}"` }
    }
    const matching = (list: readonly string[]) =>
      list.find(pattern => matchesPattern(pattern, info.name) && holdsFor(pattern, info.name, names, fresh))
    const frozen = matching(freeze)
    if (frozen !== undefined && info.trainable) {
      return { ...info, trainable: false, reason: `${info.reason}; frozen by --freeze "${frozen}"` }
    }
    const fixed = matching(constant)
    if (fixed === undefined) return info
    return { ...info, role: 'constant' as const, trainable: false, reason: `--constant "${fixed}"` }
  })
}

/**
 * What `--train` patterns choose: the parameters they match. A pattern that matches none of them means the constants it
 * matches, such as learned single numbers.
 */
function trainedByHand(infos: readonly WeightInfo[], patterns: readonly string[]): Map<WeightInfo, string> {
  const chosen = new Map<WeightInfo, string>()
  for (const pattern of patterns) {
    const matched = infos.filter(info => matchesPattern(pattern, info.name))
    const parameters = matched.filter(info => info.trainable)
    const obstacle = (info: WeightInfo) => obstacleTo(info.dtype, info.origin, info.within)
    const constants = matched.filter(info => info.role === 'constant' && obstacle(info) === null)
    for (const info of parameters.length > 0 ? parameters : constants) chosen.set(info, pattern)
    if (parameters.length + constants.length > 0) continue
    const why = obstacle(matched[0]!) ?? matched[0]!.reason
    throw new UsageError(
      `weights: --train "${pattern}" matches nothing that can be trained ("${matched[0]!.name}": ${why})`,
    )
  }
  return chosen
}
