/** Tries an engine with a one-node model whose result is known. */

import { Builder } from '../ir/builder.ts'
import { Graph, Model } from '../ir/graph.ts'
import { ONNX_DOMAIN } from '../ir/node.ts'
import { Value } from '../ir/value.ts'
import { serializeModel } from '../serde/index.ts'
import { Tensor } from '../tensor/tensor.ts'
import { messageOf } from '../util/errors.ts'
import type { ModelSource, Runner } from './engine.ts'

/** Whether a model runs and gives the right numbers; `problem` says what went wrong, in the engine's own words. */
export async function tryRunner(
  open: (model: ModelSource) => Promise<Runner>,
  dtype: 'float32' | 'float16' = 'float32',
): Promise<{ problem: string | null }> {
  try {
    const runner = await open(await probeModel(dtype))
    const [result] = (await runner.run(new Map([['x', Tensor.of('float32', [2], [1, -2])]]))).values()
    await runner.close()
    const found = result?.toNumbers().join() ?? 'nothing'
    return { problem: found === '2,-4' ? null : `a small model gave ${found}, expected 2,-4` }
  } catch (error) {
    return { problem: messageOf(error).split('\n')[0]! }
  }
}

/** y = x + x in a type. */
async function probeModel(dtype: 'float32' | 'float16'): Promise<Uint8Array> {
  const op = new Builder()
  const graph = new Graph('probe')
  const x = Value.typed('x', 'float32', [2])
  graph.inputs = [x]
  const inside = op.Cast(x, dtype)
  graph.outputs = [op.Cast(op.Add(inside, inside), 'float32')]
  graph.nodes = op.nodes
  return serializeModel(new Model(graph, 8, new Map([[ONNX_DOMAIN, 18]])))
}
