/** What keeps a model from being trained, found without running it. */

import { NON_DIFFERENTIABLE, operatorKey, RULES, ruleFor } from '../autodiff/index.ts'
import type { Model } from '../ir/graph.ts'
import type { Node } from '../ir/node.ts'
import { readsOf } from '../ir/topology.ts'
import type { Value } from '../ir/value.ts'
import {
  classifyWeights,
  cloneModel,
  findLogits,
  liftConstants,
  raiseOpset,
  refuseQuantized,
  type WeightPatterns,
} from '../passes/index.ts'
import { messageOf, SwaError } from '../util/errors.ts'

export interface Obstacle {
  readonly message: string
  readonly cure: string | null
}

/** The opset of training programs: rules are looked up in it. */
const PROGRAM_OPSET = 18

/** Everything that stands in the way; none means that `finetune` can differentiate the model. */
export async function findObstacles(
  source: Model,
  patterns: WeightPatterns = {},
  output?: string,
): Promise<Obstacle[]> {
  const obstacles: Obstacle[] = []
  const attempt = <T>(step: () => T): T | null => {
    try {
      return step()
    } catch (error) {
      obstacles.push(obstacleOf(error))
      return null
    }
  }
  const { model } = cloneModel(source)
  attempt(() => refuseQuantized(model))
  const raised = attempt(() => {
    liftConstants(model)
    return raiseOpset(model, PROGRAM_OPSET)
  })
  for (const { name, type } of model.graph.feeds) {
    if (type?.kind !== 'tensor')
      obstacles.push({ message: `model: input "${name}" is not a tensor`, cure: null })
  }
  const logits = attempt(() => findLogits(model, output))
  if (!logits || !raised) return obstacles

  const trained = (await classifyWeights(model, patterns)).filter(({ trainable }) => trainable)
  if (trained.length === 0) {
    const cure = model.functions.length > 0 ? 'inline its local functions with onnx.inliner first' : null
    obstacles.push({ message: 'model: no weight is trained', cure })
  }
  const half = trained.filter(({ dtype }) => dtype !== 'float32')
  if (half.length > 0) {
    const [first] = half
    obstacles.push({
      message: `model: ${half.length} parameters are not float32, the first is "${first!.name}" (${first!.dtype})`,
      cure: 'convert the model to float32, or freeze them with --freeze',
    })
  }
  const named = new Set<string>()
  const values = trained.map(({ value }) => value)
  for (const node of nodesOnTheWay(model.graph.nodes, values, logits.value)) {
    if (named.has(operatorKey(node))) continue
    const before = obstacles.length
    attempt(() => ruleFor(RULES, node, model.opset))
    if (obstacles.length > before) named.add(operatorKey(node))
  }
  return obstacles
}

function obstacleOf(error: unknown): Obstacle {
  if (!(error instanceof SwaError)) throw error
  return { message: messageOf(error), cure: error.cure ?? null }
}

/** The nodes through which a gradient flows from `end` back to one of the weights. */
export function nodesOnTheWay(nodes: readonly Node[], weights: readonly Value[], end: Value): Node[] {
  const active = new Set<Value>(weights)
  const forward = nodes.filter(node => {
    if (NON_DIFFERENTIABLE.has(operatorKey(node))) return false
    const reached = [...readsOf(node)].some(value => active.has(value))
    if (reached) for (const value of node.outputs) if (value) active.add(value)
    return reached
  })
  const wanted = new Set<Value>([end])
  return forward
    .reverse()
    .filter(node => {
      const used = node.outputs.some(value => value && wanted.has(value))
      if (used) for (const value of readsOf(node)) wanted.add(value)
      return used
    })
    .reverse()
}
