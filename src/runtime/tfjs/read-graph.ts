/** The graph of a model, raised to one dialect, with its weights in memory. */

import type { Graph } from '../../ir/graph.ts'
import { ONNX_DOMAIN } from '../../ir/node.ts'
import { raiseOpset } from '../../passes/index.ts'
import { deserializeModel, loadModel } from '../../serde/index.ts'
import { UnsupportedError } from '../../util/errors.ts'
import type { ModelSource } from '../engine.ts'

export async function readGraph(source: ModelSource): Promise<Graph> {
  if (typeof source !== 'string') return prepared(await deserializeModel(source, 'model'))
  const file = await loadModel(source)
  try {
    return await prepared(file.model)
  } finally {
    await file.close()
  }
}

async function prepared(model: Awaited<ReturnType<typeof deserializeModel>>): Promise<Graph> {
  raiseOpset(model)
  const { graph } = model
  const [local] = model.functions
  const caller = graph.nodes.find(({ domain }) => domain !== ONNX_DOMAIN && domain === local?.domain)
  if (caller) {
    throw new UnsupportedError(`${caller.label}: the tfjs engine does not execute local functions`, {
      cure: 'inline the functions with onnx.inliner first, or use --engine cpu',
    })
  }
  for (const value of graph.initializers) value.tensor = (await value.tensor?.load()) ?? null
  return graph
}
