/**
 * Lets a model of another float type compute in float32. float16 and bfloat16 are what weights are stored in; training
 * needs masters and gradients of float32, and the kernels of the CPU compute in it anyway.
 */

import { toFloat32Tensor } from '../tensor/convert.ts'
import { DTYPES, type DType } from '../tensor/dtype.ts'
import { int, type Attribute } from '../ir/attribute.ts'
import type { Graph, Model } from '../ir/graph.ts'
import { ONNX_DOMAIN, type Node } from '../ir/node.ts'
import { walkGraphs, walkNodes } from '../ir/topology.ts'
import type { Tensor } from '../tensor/tensor.ts'
import type { Value } from '../ir/value.ts'
import { definitionsOf } from './names.ts'
import type { PassResult } from './pass.ts'

/** Operator -> its attributes that name the element type of the output, as TensorProto.DataType. */
const TYPE_ATTRIBUTES: Readonly<Record<string, readonly string[]>> = {
  Attention: ['softmax_precision'],
  Bernoulli: ['dtype'],
  BlackmanWindow: ['output_datatype'],
  Cast: ['to'],
  EyeLike: ['dtype'],
  HammingWindow: ['output_datatype'],
  HannWindow: ['output_datatype'],
  LayerNormalization: ['stash_type'],
  MelWeightMatrix: ['output_datatype'],
  RMSNormalization: ['stash_type'],
  RandomNormal: ['dtype'],
  RandomNormalLike: ['dtype'],
  RandomUniform: ['dtype'],
  RandomUniformLike: ['dtype'],
  SequenceEmpty: ['dtype'],
}

/** Whether a model holds or computes anything in float16, bfloat16 or, where its inputs are float64, in float64. */
export function otherFloats(model: Model): ReadonlySet<DType> {
  const found = new Set<DType>()
  for (const value of definedIn(model.graph)) {
    const dtype = dtypeOf(value)
    if (dtype === 'float16' || dtype === 'bfloat16') found.add(dtype)
  }
  // Values between nodes need not be typed: what autocast wrote says bfloat16 in its Cast nodes alone.
  if (!found.has('bfloat16') && [...walkNodes(model.graph)].some(namesBfloat16)) found.add('bfloat16')
  // A float32 model may compute positions in float64: only what is float64 from the inputs on is a float64 model.
  if (model.graph.feeds.some(value => dtypeOf(value) === 'float64')) found.add('float64')
  return found
}

/**
 * Rewrites a model in place: weights, inputs and every type that a node names become float32. Numbers stay what they
 * are, each of those types being a part of float32 (float64 is rounded).
 */
export async function toFloat32(model: Model): Promise<ConvertedModel> {
  const conversion = new Conversion(otherFloats(model))
  const { others, originals } = conversion
  if (others.size === 0) return { model, modified: false, originals }
  for (const graph of walkGraphs(model.graph)) {
    for (const value of definitionsOf(graph)) await conversion.value(value)
    for (const node of graph.nodes) await conversion.node(node)
  }
  return { model, modified: true, originals }
}

export interface ConvertedModel extends PassResult {
  /** Converted tensor -> the one it was. */
  readonly originals: ReadonlyMap<Tensor, Tensor>
}

function* definedIn(graph: Graph): Iterable<Value> {
  for (const inner of walkGraphs(graph)) yield* definitionsOf(inner)
}

function namesBfloat16(node: Node): boolean {
  if (node.domain !== ONNX_DOMAIN) return false
  return (TYPE_ATTRIBUTES[node.opType] ?? []).some(name => node.int(name, 0) === DTYPES.bfloat16.onnx)
}

function dtypeOf({ type }: Value): DType | null {
  return type?.kind === 'tensor' ? type.dtype : null
}

class Conversion {
  readonly others: ReadonlySet<DType>
  readonly originals = new Map<Tensor, Tensor>()
  /** A tensor that two values share is converted once, and stays shared. */
  readonly #converted = new Map<Tensor, Tensor>()

  constructor(others: ReadonlySet<DType>) {
    this.others = others
  }

  async value(value: Value): Promise<void> {
    if (value.type?.kind === 'tensor' && this.others.has(value.type.dtype)) {
      value.type = { ...value.type, dtype: 'float32' }
    }
    if (value.tensor && this.others.has(value.tensor.dtype)) value.tensor = await this.#tensor(value.tensor)
  }

  async node(node: Node): Promise<void> {
    for (const [name, attribute] of node.attributes) {
      const converted = await this.#attribute(node, name, attribute)
      if (converted) node.attributes.set(name, converted)
    }
  }

  async #attribute(node: Node, name: string, attribute: Attribute): Promise<Attribute | null> {
    if (attribute.kind === 'tensor' && this.others.has(attribute.value.dtype)) {
      return { kind: 'tensor', value: await this.#tensor(attribute.value) }
    }
    const namesType = node.domain === ONNX_DOMAIN && TYPE_ATTRIBUTES[node.opType]?.includes(name)
    if (!namesType || attribute.kind !== 'int') return null
    const named = [...this.others].some(dtype => BigInt(DTYPES[dtype].onnx) === attribute.value)
    return named ? int(DTYPES.float32.onnx) : null
  }

  async #tensor(tensor: Tensor): Promise<Tensor> {
    const converted = this.#converted.get(tensor) ?? (await toFloat32Tensor(tensor))
    this.#converted.set(tensor, converted)
    this.originals.set(converted, tensor)
    return converted
  }
}
