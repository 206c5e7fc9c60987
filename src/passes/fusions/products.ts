/** Products and convolutions with what ONNX Runtime's optimiser joins to them. */

import { float } from '../../ir/attribute.ts'
import type { Builder } from '../../ir/builder.ts'
import type { Node } from '../../ir/node.ts'
import type { Value } from '../../ir/value.ts'
import { UnsupportedError } from '../../util/errors.ts'
import type { NodeForm, NodeForms } from '../replace-nodes.ts'

/** Attribute `activation` -> the standard operator, with its parameters in the order of `activation_params`. */
const ACTIVATIONS: Readonly<Record<string, (op: Builder, x: Value, parameters: readonly number[]) => Value>> =
  {
    Relu: (op, x) => op.Relu(x),
    Tanh: (op, x) => op.Tanh(x),
    Sigmoid: (op, x) => op.Sigmoid(x),
    LeakyRelu: (op, x, [alpha = 0.01]) =>
      op.one('LeakyRelu', [x], { shape: x.shape }, { alpha: float(alpha) }),
    Clip: (op, x, [low = -Infinity, high = Infinity]) =>
      op.one('Clip', [x, op.scalarLike(x, low), op.scalarLike(x, high)], { shape: x.shape }),
    HardSigmoid: (op, x, [alpha = 0.2, beta = 0.5]) =>
      op.one('HardSigmoid', [x], { shape: x.shape }, { alpha: float(alpha), beta: float(beta) }),
  }

function activated(op: Builder, node: Node, x: Value, parameters: readonly number[]): Value {
  const name = node.string('activation', '')
  if (name === '') return x
  const write = ACTIVATIONS[name]
  if (write) return write(op, x, parameters)
  throw new UnsupportedError(
    `gradient: ${node.label} has the activation "${name}", expected one of ${Object.keys(ACTIVATIONS).join(', ')}`,
  )
}

/** The standard operator with the node's own attributes, but for those of the fusion. */
function standard(op: Builder, node: Node, opType: string, inputs: (Value | null)[]): Value {
  const attributes = [...node.attributes].filter(([name]) => !name.startsWith('activation'))
  return op.one(opType, inputs, { shape: node.output(0).shape }, Object.fromEntries(attributes))
}

/** act(Conv(x, w, b) + z) */
const fusedConv: NodeForm = (op, node) => {
  const inputs = node.inputs[2] ? node.inputs.slice(0, 3) : node.inputs.slice(0, 2)
  const y = standard(op, node, 'Conv', inputs)
  const z = node.inputs[3]
  return activated(op, node, z ? op.Add(y, z) : y, node.floats('activation_params') ?? [])
}

const fusedGemm: NodeForm = (op, node) => {
  const parameters = ['alpha', 'beta', 'gamma'].flatMap(name => {
    const attribute = node.attributes.get(`activation_${name}`)
    return attribute?.kind === 'float' ? [attribute.value] : []
  })
  return activated(op, node, standard(op, node, 'Gemm', [...node.inputs]), parameters)
}

/** α A' B', where A' has its last two axes swapped if transA says so. */
const fusedMatMul: NodeForm = (op, node) => {
  for (const name of ['transBatchA', 'transBatchB']) {
    if (node.int(name, 0) === 0) continue
    throw new UnsupportedError(`gradient: ${node.label} has ${name} set, expected batches in their places`)
  }
  const operand = (index: number, attribute: string) => {
    const x = node.input(index)
    if (x.rank < 2 || node.int(attribute, 0) === 0) return x
    const axes = x.shape.map((_, i) => i)
    return op.Transpose(x, [...axes.slice(0, -2), axes.at(-1)!, axes.at(-2)!])
  }
  const [a, b] = [operand(0, 'transA'), operand(1, 'transB')]
  const y = op.one('MatMul', [a, b], { shape: node.output(0).shape })
  const alpha = node.float('alpha', 1)
  return alpha === 1 ? y : op.Mul(y, op.scalarLike(y, alpha))
}

export const productFusions: NodeForms = {
  'com.microsoft.FusedConv': [fusedConv],
  'com.microsoft.FusedGemm': [fusedGemm],
  'com.microsoft.FusedMatMul': [fusedMatMul],
}
