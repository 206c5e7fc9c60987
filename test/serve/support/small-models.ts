/** Models whose answers are known without running them. */

import { mkdirSync, renameSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { int } from '../../../src/ir/attribute.ts'
import { Graph, Model } from '../../../src/ir/graph.ts'
import { Node } from '../../../src/ir/node.ts'
import { Value, type Dim } from '../../../src/ir/value.ts'
import { serializeModel } from '../../../src/serde/index.ts'
import type { DType } from '../../../src/tensor/dtype.ts'
import { Tensor } from '../../../src/tensor/tensor.ts'

export interface ModelOptions {
  /** Default: any number of samples of three. */
  readonly dims?: readonly Dim[]
  readonly metadata?: Readonly<Record<string, string>>
}

const DIMS: readonly Dim[] = ['N', 3]

function modelOf(
  input: Value,
  output: Value,
  nodes: Node[],
  initializers: Value[],
  { metadata = {} }: ModelOptions,
): Promise<Uint8Array> {
  const graph = new Graph('main')
  graph.inputs = [input]
  graph.outputs = [output]
  graph.nodes = nodes
  graph.initializers = initializers
  const model = new Model(graph, 8, new Map([['', 18]]))
  for (const [key, value] of Object.entries(metadata)) model.metadata.set(key, value)
  return serializeModel(model)
}

/** y = x */
export function identityModel(dtype: DType, options: ModelOptions = {}): Promise<Uint8Array> {
  const { dims = DIMS } = options
  const [x, y] = [Value.typed('x', dtype, dims), Value.typed('y', dtype, dims)]
  return modelOf(x, y, [new Node('Identity', [x], [y], { name: 'identity' })], [], options)
}

/** y = factor * x */
export function scaleModel(factor: number, options: ModelOptions = {}): Promise<Uint8Array> {
  const { dims = DIMS } = options
  const [x, y] = [Value.typed('x', 'float32', dims), Value.typed('y', 'float32', dims)]
  const weight = Value.constant('factor', Tensor.of('float32', [], [factor]))
  return modelOf(x, y, [new Node('Mul', [x, weight], [y], { name: 'scale' })], [weight], options)
}

/** y = x - mean of all samples: samples change each other. */
export function centeredModel(): Promise<Uint8Array> {
  const [x, y] = [Value.typed('x', 'float32', DIMS), Value.typed('y', 'float32', DIMS)]
  const mean = Value.typed('mean', 'float32', [1, 3])
  const axes = Value.constant('axes', Tensor.of('int64', [1], [0n]))
  const nodes = [
    new Node('ReduceMean', [x, axes], [mean], { name: 'mean', attributes: new Map([['keepdims', int(1)]]) }),
    new Node('Sub', [x, mean], [y], { name: 'center' }),
  ]
  return modelOf(x, y, nodes, [axes], {})
}

/** y = x after `products` products with the unit matrix of 256: takes its time. */
export function slowModel(products: number): Promise<Uint8Array> {
  const dims: readonly Dim[] = ['N', 256]
  const unit = new Float32Array(256 * 256)
  for (let i = 0; i < 256; i++) unit[i * 257] = 1
  const weight = Value.constant('unit', Tensor.of('float32', [256, 256], unit))
  const x = Value.typed('x', 'float32', dims)
  let last = x
  const nodes = Array.from({ length: products }, (_, i) => {
    const next = Value.typed(i === products - 1 ? 'y' : `y${i}`, 'float32', dims)
    const node = new Node('MatMul', [last, weight], [next], { name: `product${i}` })
    last = next
    return node
  })
  return modelOf(x, last, nodes, [weight], {})
}

/** y = table[i]: an index out of its range fails the run. */
export function gatherModel(): Promise<Uint8Array> {
  const [i, y] = [Value.typed('i', 'int64', ['N']), Value.typed('y', 'float32', ['N'])]
  const table = Value.constant('table', Tensor.of('float32', [4], [10, 11, 12, 13]))
  return modelOf(i, y, [new Node('Gather', [table, i], [y], { name: 'secret_table_lookup' })], [table], {})
}

/** Puts a file in its place at once, as publishing tools do. */
export function publish(path: string, bytes: Uint8Array): void {
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(`${path}.part`, bytes)
  renameSync(`${path}.part`, path)
}
