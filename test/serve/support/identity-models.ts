/** A folder of models whose answers are known without running them: y = a + b, and y = x for element types. */

import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Graph, Model } from '../../../src/ir/graph.ts'
import { Node } from '../../../src/ir/node.ts'
import { Value, type Dim } from '../../../src/ir/value.ts'
import { serializeModel } from '../../../src/serde/index.ts'
import { DATATYPES, type Datatype } from '../../../src/serve/protocol/datatypes.ts'
import type { DType } from '../../../src/tensor/dtype.ts'

function modelOf(opType: string, inputs: readonly string[], dtype: DType, dims: readonly Dim[]): Model {
  const values = inputs.map(name => Value.typed(name, dtype, dims))
  const y = Value.typed('y', dtype, dims)
  const graph = new Graph('main')
  graph.inputs = values
  graph.outputs = [y]
  graph.nodes = [new Node(opType, values, [y], { name: 'only' })]
  return new Model(graph, 8, new Map([['', 18]]))
}

/** Models `sum` (FP32 [N,3]: y = a + b) and, under its name in small letters, y = x [N,M] of each datatype. */
export async function writeKnownModels(datatypes: readonly Datatype[]): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), 'swa-onnx-known-'))
  const write = async (name: string, model: Model) => {
    mkdirSync(join(folder, name, '1'), { recursive: true })
    writeFileSync(join(folder, name, '1', 'model.onnx'), await serializeModel(model))
  }
  await write('sum', modelOf('Add', ['a', 'b'], 'float32', ['N', 3]))
  for (const datatype of datatypes) {
    await write(datatype.toLowerCase(), modelOf('Identity', ['x'], DATATYPES[datatype], ['N', 'M']))
  }
  return folder
}

/** Those of the recorded requests of Triton's client. */
export const RECORDED_DATATYPES = [
  ...(['FP32', 'FP16', 'BF16', 'INT64', 'UINT8', 'BOOL', 'BYTES'] as const),
] satisfies Datatype[]
