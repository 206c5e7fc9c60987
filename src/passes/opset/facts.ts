/** Ranks and element types, as far as they follow from declared types and known operators; shapes are observed later. */

import { dtypeOfOnnx, type DType } from '../../tensor/dtype.ts'
import type { Graph } from '../../ir/graph.ts'
import { ONNX_DOMAIN, type Node } from '../../ir/node.ts'
import type { Value } from '../../ir/value.ts'
import { tensorOf } from '../lift-constants.ts'

/** What one walk over a graph and its sub-graphs, producers first, tells about its values. */
export class Facts {
  readonly #ranks = new Map<Value, number>()
  readonly #dtypes = new Map<Value, DType>()

  constructor(graph: Graph) {
    this.#walk(graph)
  }

  /** The rank of a value, or undefined if it is not known. */
  rank(value: Value): number | undefined {
    const declared = value.type?.kind === 'tensor' ? value.type.shape?.length : undefined
    return tensorOf(value)?.dims.length ?? declared ?? this.#ranks.get(value)
  }

  /** The element type of a value, or undefined if it is not known. */
  dtype(value: Value): DType | undefined {
    const declared = value.type?.kind === 'tensor' ? value.type.dtype : undefined
    return tensorOf(value)?.dtype ?? declared ?? this.#dtypes.get(value)
  }

  #walk(graph: Graph): void {
    for (const node of graph.nodes) {
      for (const subgraph of node.subgraphs()) this.#walk(subgraph)
      if (node.domain !== ONNX_DOMAIN) continue
      const rank = RANKS[node.opType]?.(node, index => {
        const input = node.inputs[index]
        return input ? this.rank(input) : undefined
      })
      const dtype = this.#outputDtype(node)
      for (const output of node.outputs) {
        if (output && rank !== undefined) this.#ranks.set(output, rank)
        if (output && dtype !== undefined) this.#dtypes.set(output, dtype)
      }
    }
  }

  /** Computing operators keep their first typed input's element type; others are not asked for theirs. */
  #outputDtype(node: Node): DType | undefined {
    if (node.opType === 'Cast') return dtypeOfOnnx(node.int('to', 1), node.label)
    if (!(node.opType in RANKS)) return undefined
    return node.inputs.flatMap(input => (input && this.dtype(input)) ?? [])[0]
  }
}

type RankRule = (node: Node, rank: (index: number) => number | undefined) => number | undefined

const two: RankRule = () => 2
const asInput: RankRule = (_, rank) => rank(0)
const asWeight: RankRule = (_, rank) => rank(1) ?? rank(0)
const highest: RankRule = (node, rank) => {
  const ranks = node.inputs.map((_, index) => rank(index))
  return ranks.every(known => known !== undefined) ? Math.max(...ranks) : undefined
}
const byTarget: RankRule = node => {
  const shape = node.inputs[1]
  const tensor = shape && tensorOf(shape)
  return tensor?.dims[0]
}
const withAxes =
  (sign: 1 | -1): RankRule =>
  (node, rank) => {
    const axes = node.ints('axes', undefined)?.length ?? tensorOf(node.inputs[1])?.size
    const before = rank(0)
    return axes === undefined || before === undefined ? undefined : before + sign * axes
  }

const RANKS: Readonly<Record<string, RankRule>> = {
  ...Object.fromEntries(
    [
      ...[
        'Identity',
        'Cast',
        'Dropout',
        'Relu',
        'LeakyRelu',
        'PRelu',
        'Elu',
        'Selu',
        'Sigmoid',
        'HardSigmoid',
      ],
      ...[
        'HardSwish',
        'Tanh',
        'Softplus',
        'Exp',
        'Log',
        'Sqrt',
        'Neg',
        'Abs',
        'Erf',
        'Clip',
        'Softmax',
        'Slice',
      ],
      ...[
        'LogSoftmax',
        'BatchNormalization',
        'InstanceNormalization',
        'LRN',
        'MaxPool',
        'AveragePool',
        'Pad',
      ],
      ...['GlobalAveragePool', 'GlobalMaxPool', 'Concat', 'Split', 'Transpose', 'Resize', 'Upsample'],
    ].map(opType => [opType, asInput]),
  ),
  ...Object.fromEntries(
    ['Add', 'Sub', 'Mul', 'Div', 'Pow', 'Max', 'Min', 'Sum'].map(opType => [opType, highest]),
  ),
  Conv: asWeight,
  ConvTranspose: asWeight,
  Gemm: two,
  Flatten: two,
  MatMul: highest,
  Reshape: byTarget,
  Squeeze: withAxes(-1),
  Unsqueeze: withAxes(1),
}
