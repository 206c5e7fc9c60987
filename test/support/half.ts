/** A float32 model in half precision: weights rounded, inputs and outputs of the same type. */

import type { Model } from '../../src/ir/graph.ts'
import { walkGraphs } from '../../src/ir/topology.ts'
import { Tensor } from '../../src/tensor/tensor.ts'

/** Rewrites the model in place; `keepNumbers` gives a float32 model of the same, rounded numbers instead. */
export async function toHalf(
  model: Model,
  dtype: 'float16' | 'bfloat16',
  keepFloat32 = false,
): Promise<Model> {
  const stored = keepFloat32 ? 'float32' : dtype
  const convert = async (tensor: Tensor) => {
    const rounded = Tensor.of(dtype, tensor.dims, (await tensor.load()).toNumbers())
    return keepFloat32 ? Tensor.of('float32', tensor.dims, rounded.toNumbers()) : rounded
  }
  for (const graph of walkGraphs(model.graph)) {
    for (const value of [
      ...graph.inputs,
      ...graph.outputs,
      ...graph.initializers,
      ...graph.nodes.flatMap(n => n.outputs),
    ]) {
      if (value?.type?.kind !== 'tensor' || value.type.dtype !== 'float32') continue
      value.type = { ...value.type, dtype: stored }
      if (value.tensor) value.tensor = await convert(value.tensor)
    }
    for (const node of graph.nodes) {
      for (const [name, attribute] of node.attributes) {
        if (attribute.kind !== 'tensor' || attribute.value.dtype !== 'float32') continue
        node.attributes.set(name, { kind: 'tensor', value: await convert(attribute.value) })
      }
    }
  }
  return model
}
