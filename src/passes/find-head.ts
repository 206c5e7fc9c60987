/** Finds the classifier of a model: the last linear layers or convolutions before its logits. */

import { UnsupportedError } from '../util/errors.ts'
import type { Tensor } from '../tensor/tensor.ts'
import type { Model } from '../ir/graph.ts'
import { ONNX_DOMAIN, type Node } from '../ir/node.ts'
import { usesOf } from '../ir/topology.ts'
import type { Value } from '../ir/value.ts'
import { findLogits } from './find-logits.ts'
import { tensorOf } from './lift-constants.ts'

/** One layer of a head: most models have one, distilled ones two whose logits are added. */
export interface HeadLayer {
  readonly node: Node
  /** Where the weight is stored; the node may read it through Transpose or Identity. */
  readonly weight: Value
  readonly weightTensor: Tensor
  /** The axis of the stored weight that counts classes. */
  readonly classAxis: number
  /** Null for a layer without a bias. */
  readonly bias: Value | null
  readonly classes: number
  /** Numbers from which one logit is computed. */
  readonly fanIn: number
}

export interface Head {
  readonly layers: readonly HeadLayer[]
  readonly classes: number
  /** The nodes between the layers and the graph outputs that follow from them. */
  readonly after: readonly Node[]
}

/** Operators through which logits pass on their way from the layer that makes them: they mix no classes. */
const PASSED: ReadonlySet<string> = new Set([
  'Identity',
  'Cast',
  'Reshape',
  'Flatten',
  'Squeeze',
  'Unsqueeze',
  'Transpose',
  'Dropout',
  'Relu',
  'Resize',
  'Upsample',
  'GlobalAveragePool',
  'AveragePool',
  'ReduceMean',
  'Slice',
  'Gather',
])

/** Arithmetic with numbers that the model holds, or of two heads with one another. */
const ARITHMETIC: ReadonlySet<string> = new Set(['Add', 'Sub', 'Mul', 'Div', 'Sum', 'Mean'])

/** The head of the named output, or of the only one. */
export function findHead(model: Model, outputName?: string): Head {
  const { value, output } = findLogits(model, outputName)
  const finder = new Finder(output.name)
  finder.walk(value)
  const { layers } = finder
  const counts = [...new Set(layers.map(({ classes }) => classes))]
  if (counts.length !== 1) {
    const list = layers.map(({ node, classes }) => `${node.label} gives ${classes}`).join(', ')
    throw new UnsupportedError(
      `head of output "${output.name}": expected layers of one number of classes, found ${list}`,
      {
        cure: CURE,
      },
    )
  }
  checkUnshared(model, layers)
  return { layers, classes: counts[0]!, after: nodesAfter(model, layers) }
}

const CURE =
  'name the output of the classifier with --output, or give the model a new head before it is exported'

class Finder {
  readonly layers: HeadLayer[] = []
  readonly #output: string
  readonly #visited = new Set<Value>()

  constructor(output: string) {
    this.#output = output
  }

  walk(value: Value, bias: Value | null = null): void {
    if (this.#visited.has(value)) return
    this.#visited.add(value)
    const node = value.producer
    if (!node) throw this.#notFound(`the ${value.tensor ? 'weight' : 'input'} "${value.name}"`)
    const layer = node.domain === ONNX_DOMAIN ? layerOf(node, bias) : null
    if (layer) {
      this.layers.push(layer)
      return
    }
    if (node.domain === ONNX_DOMAIN && PASSED.has(node.opType)) {
      this.walk(node.input(0), bias)
      return
    }
    if (isStack(node)) {
      for (const input of node.inputs) this.walk(input!)
      return
    }
    if (node.domain !== ONNX_DOMAIN || !ARITHMETIC.has(node.opType)) throw this.#notFound(node.label)
    const operands = node.inputs.filter(input => input !== null)
    const computed = operands.filter(operand => storedIn(operand) === null)
    const stored = operands.filter(operand => storedIn(operand) !== null)
    const added = node.opType === 'Add' && stored.length === 1 && tensorOf(storedIn(stored[0]!))!.size > 1
    if (computed.length === 0) throw this.#notFound(node.label)
    for (const operand of computed) this.walk(operand, added ? stored[0]! : null)
  }

  #notFound(what: string): UnsupportedError {
    return new UnsupportedError(
      `head of output "${this.#output}": expected a Gemm, MatMul or Conv with a stored weight, found ${what}`,
      { cure: CURE },
    )
  }
}

/** `torch.stack` of heads that are averaged afterwards: each gets an axis of its own, along which they are joined. */
function isStack(node: Node): boolean {
  if (node.domain !== ONNX_DOMAIN || node.opType !== 'Concat') return false
  return node.inputs.every(input => input?.producer?.opType === 'Unsqueeze')
}

/** The initializer or Constant that a value is, behind Identity, Cast and Transpose; null where it is computed. */
function storedIn(value: Value): Value | null {
  let source = value
  while (source.producer && MOVES.has(source.producer.opType)) source = source.producer.input(0)
  return tensorOf(source) ? source : null
}

const MOVES: ReadonlySet<string> = new Set(['Identity', 'Cast', 'Transpose'])

/** Whether the axes of a matrix are swapped on the way from where it is stored. */
function isTransposed(value: Value): boolean {
  let transposed = false
  for (
    let source = value;
    source.producer && MOVES.has(source.producer.opType);
    source = source.producer.input(0)
  ) {
    if (source.producer.opType === 'Transpose') transposed = !transposed
  }
  return transposed
}

/** A layer with a stored weight; `added` is what an Add puts on top of it. */
function layerOf(node: Node, added: Value | null): HeadLayer | null {
  if (!['Gemm', 'MatMul', 'Conv'].includes(node.opType)) return null
  const weight = storedIn(node.input(1))
  const weightTensor = tensorOf(weight)
  if (!weight || !weightTensor) return null
  const own = node.opType === 'MatMul' ? null : node.inputs[2]
  const stored = storedIn(own ?? added ?? weight)
  const { dims } = weightTensor
  if (node.opType === 'Conv') {
    if (node.int('group', 1) !== 1) return null
    const [classes, ...rest] = dims
    const bias = own || added ? stored : null
    return {
      node,
      weight,
      weightTensor,
      classAxis: 0,
      bias,
      classes: classes!,
      fanIn: rest.reduce((a, b) => a * b, 1),
    }
  }
  if (dims.length !== 2) return null
  const outputsFirst = (node.int('transB', 0) === 1) !== isTransposed(node.input(1))
  const classAxis = outputsFirst ? 0 : 1
  const [classes, fanIn] = [dims[classAxis]!, dims[1 - classAxis]!]
  return { node, weight, weightTensor, classAxis, bias: own || added ? stored : null, classes, fanIn }
}

/** New numbers in a weight that something else reads too would change that as well. */
function checkUnshared(model: Model, layers: readonly HeadLayer[]): void {
  const uses = usesOf(model.graph)
  for (const { node, weight, bias } of layers) {
    for (const value of bias ? [weight, bias] : [weight]) {
      const readers = uses.get(value) ?? []
      if (readers.length <= 1) continue
      const other = readers.find(use => use.node !== node)?.node ?? node
      throw new UnsupportedError(
        `head: ${node.label} shares its weight "${value.name}" with ${other.label}, which a new head would change`,
        { cure: 'a tied weight (the embeddings of a language model) is no classifier of its own: keep it' },
      )
    }
  }
}

function nodesAfter(model: Model, layers: readonly HeadLayer[]): Node[] {
  const reached = new Set<Value | null>(layers.map(({ node }) => node.output(0)))
  return model.graph.nodes.filter(node => {
    const follows = node.inputs.some(input => input && reached.has(input))
    if (follows) for (const output of node.outputs) if (output) reached.add(output)
    return follows
  })
}
