/** An engine that is the CPU's but for one node of every model that it opens, which computes something else. */

import { Node } from '../../src/ir/node.ts'
import { Value } from '../../src/ir/value.ts'
import type { Engine } from '../../src/runtime/engine.ts'
import { cpuEngine } from '../../src/runtime/ort-cpu/engine.ts'
import { deserializeModel, loadModel, serializeModel } from '../../src/serde/index.ts'
import { Tensor } from '../../src/tensor/tensor.ts'

export interface Wrongness {
  /** The first output of the node. */
  readonly output: string
  /** What is done to it. */
  readonly by: 'Add' | 'Mul'
  /** With a scalar. */
  readonly amount: number
  /** Only while nobody asks for the value: as if the node were fused with the next one. */
  readonly hidden?: boolean
}

export function wrongEngine({ output, by, amount, hidden = false }: Wrongness): Engine {
  const cpu = cpuEngine()
  return {
    ...cpu,
    name: 'wrong',
    async openRunner(source, options) {
      const file = typeof source === 'string' ? await loadModel(source) : null
      const model = file?.model ?? (await deserializeModel(source as Uint8Array, 'model'))
      const { graph } = model
      const node = graph.nodes.find(one => one.outputs[0]?.name === output)
      const place = node?.outputs[0]
      const isSeen = graph.outputs.some(value => value === place)
      if (node && place && !(hidden && isSeen)) {
        const right = new Value(`${output}/right`)
        const scalar = Value.constant(`${output}/amount`, Tensor.scalar('float32', amount))
        node.outputs[0] = right
        right.producer = node
        graph.initializers.push(scalar)
        graph.nodes.splice(graph.nodes.indexOf(node) + 1, 0, new Node(by, [right, scalar], [place]))
      }
      const bytes = await serializeModel(model)
      await file?.close()
      return cpu.openRunner(bytes, options)
    },
  }
}
