/**
 * Models whose inputs or outputs are bfloat16, which the binding of ONNX Runtime cannot pass: the graph gets float32 ports
 * with Casts behind them, and the bits are widened and cut here. Both are exact.
 */

import { Graph, type Model } from '../../ir/graph.ts'
import { int } from '../../ir/attribute.ts'
import { Node } from '../../ir/node.ts'
import { Value } from '../../ir/value.ts'
import { openModel } from '../../eval/open-model.ts'
import type { Engine, Port, Runner, SessionOptions } from '../../runtime/engine.ts'
import { loadModel } from '../../serde/index.ts'
import { DTYPES } from '../../tensor/dtype.ts'
import { Tensor } from '../../tensor/tensor.ts'
import { invariant } from '../../util/errors.ts'

/** Opens such a model; its ports are bfloat16, as the file says. */
export async function openBfloat16(engine: Engine, path: string, options: SessionOptions): Promise<Runner> {
  const file = await loadModel(path)
  try {
    const { model, changed } = withFloat32Ports(file.model)
    const runner = await openModel(engine, model, options)
    const restore = (port: Port): Port => (changed.has(port.name) ? { ...port, dtype: 'bfloat16' } : port)
    return {
      inputs: runner.inputs.map(restore),
      outputs: runner.outputs.map(restore),
      async run(feeds, outputs, lender) {
        const wide = new Map([...feeds].map(([name, tensor]) => [name, widen(tensor)]))
        const results = await runner.run(wide, outputs, lender)
        return new Map([...results].map(([name, tensor]) => [name, changed.has(name) ? cut(tensor) : tensor]))
      },
      close: () => runner.close(),
      get alive() {
        return runner.alive ?? true
      },
      crash: () => runner.crash?.() ?? Promise.resolve(),
    }
  } finally {
    await file.close()
  }
}

/** The model with float32 in place of bfloat16 at its ports, under the same names. */
function withFloat32Ports(model: Model): { readonly model: Model; readonly changed: ReadonlySet<string> } {
  const { graph } = model
  const changed = new Set<string>()
  const isBfloat16 = (value: Value) => value.type?.kind === 'tensor' && value.type.dtype === 'bfloat16'
  const port = (value: Value): Value => {
    invariant(value.type?.kind === 'tensor', 'a port of a type')
    changed.add(value.name)
    const outside = new Value(value.name, { ...value.type, dtype: 'float32' })
    value.name = `${value.name}/bfloat16`
    return outside
  }
  const cast = (from: Value, to: Value, dtype: 'float32' | 'bfloat16') =>
    new Node('Cast', [from], [to], {
      name: `${from.name}/Cast`,
      attributes: new Map([['to', int(DTYPES[dtype].onnx)]]),
    })
  const before: Node[] = []
  const after: Node[] = []
  const changedGraph = new Graph(graph.name)
  changedGraph.inputs = graph.inputs.map(value => {
    if (value.tensor !== null || !isBfloat16(value)) return value
    const outside = port(value)
    before.push(cast(outside, value, 'bfloat16'))
    return outside
  })
  changedGraph.outputs = graph.outputs.map(value => {
    if (!isBfloat16(value)) return value
    const outside = port(value)
    after.push(cast(value, outside, 'float32'))
    return outside
  })
  changedGraph.initializers = graph.initializers
  changedGraph.nodes = [...before, ...graph.nodes, ...after]
  changedGraph.extra = graph.extra
  model.graph = changedGraph
  return { model, changed }
}

function widen(tensor: Tensor): Tensor {
  if (tensor.dtype !== 'bfloat16') return tensor
  const wide = new Uint32Array(tensor.size)
  tensor.view().forEach((bits, i) => {
    wide[i] = Number(bits) << 16
  })
  return new Tensor('float32', tensor.dims, new Uint8Array(wide.buffer))
}

function cut(tensor: Tensor): Tensor {
  const bits = new Uint32Array(new Uint8Array(tensor.data as Uint8Array).buffer)
  return Tensor.of(
    'bfloat16',
    tensor.dims,
    Uint16Array.from(bits, word => word >>> 16),
  )
}
