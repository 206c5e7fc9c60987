/** What ONNX Runtime's CUDA execution provider computes (version 1.30), and which nodes it leaves to the CPU. */

import type { Graph } from '../../ir/graph.ts'
import { ONNX_DOMAIN, type Node } from '../../ir/node.ts'
import { walkNodes } from '../../ir/topology.ts'
import type { Value } from '../../ir/value.ts'
import type { Capabilities } from '../engine.ts'
import { CPU_CAPABILITIES, operatorNames } from '../ort-cpu/capabilities.ts'

/** The operators that have a CPU kernel and no CUDA kernel: all of them, read in the sources. */
export const WITHOUT_KERNEL: ReadonlySet<string> = new Set(
  operatorNames(`Acos Acosh AffineGrid Asin Asinh Atan Atanh BitCast BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor
BlackmanWindow Celu Col2Im ConvInteger Cosh CumProd DFT Det DynamicQuantizeLinear GlobalLpPool HammingWindow HannWindow
Hardmax LpPool MaxRoiPool MaxUnpool Mean MeanVarianceNormalization MelWeightMatrix Multinomial Optional OptionalGetElement
OptionalHasElement QLinearConv QLinearMatMul RegexFullMatch STFT Sinh SplitToSequence StringConcat StringNormalizer
StringSplit Tan TfIdfVectorizer Unique`),
)

/** Operators with a float16 kernel, of those that a mixed-precision program can hold. */
const HALF_KERNELS: ReadonlySet<string> = new Set(
  operatorNames(`Abs Add AveragePool BatchNormalization Cast Clip Concat Conv ConvTranspose DepthToSpace Div Einsum Elu
Equal Erf Exp Expand Flatten Gather GatherElements GatherND Gelu Gemm GlobalAveragePool GlobalMaxPool Greater GreaterOrEqual
HardSigmoid HardSwish Identity If InstanceNormalization LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax Loop
MatMul Max MaxPool Min Mul Neg PRelu Pad Pow Reciprocal ReduceMax ReduceMean ReduceSum ReduceSumSquare Relu Reshape Resize
ScatterElements ScatterND Selu Shape Sigmoid Sign Slice Softmax Softplus Softsign SpaceToDepth Split Sqrt Squeeze Sub Sum
Tanh ThresholdedRelu Tile TopK Transpose Trilu Unsqueeze Where`),
)

export const CUDA_CAPABILITIES: Capabilities = {
  operators: new Set([...CPU_CAPABILITIES.operators].filter(name => !WITHOUT_KERNEL.has(name))),
  dtypes: new Set(['float32', 'float64', 'float16', 'int32', 'int64', 'uint8', 'int8', 'bool']),
  state: 'run',
}

/** Operator -> why a node of it has no kernel although others have; null for a node that has one. */
const REFUSALS: Readonly<Record<string, (node: Node) => string | null>> = {
  ConvTranspose: node => (hasSymmetricPads(node) ? null : 'its pads are not symmetric'),
  BatchNormalization: node =>
    node.int('training_mode', 0) === 1 ? 'the provider does not train batch norms' : null,
  ArgMax: selectsFirst,
  ArgMin: selectsFirst,
  ScatterElements: node =>
    isReduced(node) && !['float32', 'float64', 'float16'].includes(node.input(0).dtype)
      ? `it would reduce ${node.input(0).dtype} elements as if they were floating-point`
      : null,
  ScatterND: node =>
    isReduced(node) && !['float32', 'float16'].includes(node.input(0).dtype)
      ? `it reduces no ${node.input(0).dtype} elements`
      : null,
}

/** Whether the pads of a ConvTranspose are those that cuDNN takes: equal at both ends, and stated. */
export function hasSymmetricPads(node: Node): boolean {
  if (node.string('auto_pad', 'NOTSET').startsWith('SAME')) return false
  const pads = node.ints('pads', [])
  return pads.slice(0, pads.length / 2).every((begin, i) => begin === pads[i + pads.length / 2])
}

/** Whether elements of a Scatter that meet are added, multiplied or compared. */
export function isReduced(node: Node): boolean {
  return node.string('reduction', 'none') !== 'none'
}

function selectsFirst(node: Node): string | null {
  return node.int('select_last_index', 0) === 0 ? null : 'the provider knows only the first of equal elements'
}

/** A node that no kernel of the provider takes. */
export interface NodeWithoutKernel {
  readonly node: Node
  readonly reason: string
}

/** The nodes of a lowered graph that will not run on the device. Function operators are not looked into. */
export function nodesWithoutKernel(graph: Graph): NodeWithoutKernel[] {
  return [...walkNodes(graph)].flatMap(node => {
    const reason = reasonOf(node)
    return reason === null ? [] : [{ node, reason }]
  })
}

function reasonOf(node: Node): string | null {
  const key = node.domain === ONNX_DOMAIN ? node.opType : `${node.domain}.${node.opType}`
  if (!CUDA_CAPABILITIES.operators.has(key)) return 'the provider has no kernel for the operator'
  const strange = [...node.inputs, ...node.outputs].find(value => value && !isComputable(value))
  if (strange) return `the provider does not compute with ${strange.toString()}`
  const isHalf = [...node.inputs, ...node.outputs].some(value => value && halfTyped(value))
  if (isHalf && !HALF_KERNELS.has(key)) return 'the provider has no kernel for the operator in float16'
  return REFUSALS[node.opType]?.(node) ?? null
}

function halfTyped({ type }: Value): boolean {
  return type?.kind === 'tensor' && type.dtype === 'float16'
}

function isComputable({ type }: Value): boolean {
  return type?.kind !== 'tensor' || CUDA_CAPABILITIES.dtypes.has(type.dtype)
}
