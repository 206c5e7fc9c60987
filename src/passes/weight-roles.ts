/** What a weight is, judged by one of its uses. */

import { DTYPES, dtypeOfOnnx } from '../tensor/dtype.ts'
import type { Tensor } from '../tensor/tensor.ts'
import { ONNX_DOMAIN, type Node } from '../ir/node.ts'
import type { Use } from '../ir/topology.ts'
import type { Value } from '../ir/value.ts'
import { SHAPE_READERS } from './dependence.ts'
import { FUSED_ROLES } from './fusions/weight-roles.ts'
import { tensorOf } from './lift-constants.ts'
import { keepsElements, sourceOf } from './sources.ts'
import {
  isFilledWith,
  isMask,
  isProgression,
  isRepetitive,
  isSineTable,
  isSteadyTable,
  isStepwise,
  isUniform,
} from './weight-values.ts'
import type { WeightUse } from './weight-uses.ts'

export type WeightRole = 'parameter' | 'buffer' | 'constant'

export interface Judgement {
  readonly role: WeightRole
  /** A few words that end in the node: `weight of Conv "stem"`. */
  readonly reason: string
}

type InputRoles = Readonly<Record<number, readonly [WeightRole, string]>>

const weightAndBias: InputRoles = { 1: ['parameter', 'weight'], 2: ['parameter', 'bias'] }
const scaleAndBias: InputRoles = { 1: ['parameter', 'scale'], 2: ['parameter', 'bias'] }
const table: InputRoles = { 0: ['parameter', 'table'], 1: ['constant', 'positions'] }
const recurrent: InputRoles = {
  1: ['parameter', 'weight'],
  2: ['parameter', 'recurrent weight'],
  3: ['parameter', 'bias'],
  5: ['constant', 'initial state'],
  6: ['constant', 'initial state'],
  7: ['parameter', 'peephole weight'],
}
const sizes: InputRoles = {
  1: ['constant', 'size'],
  2: ['constant', 'size'],
  3: ['constant', 'size'],
}
const threshold: InputRoles = { 0: ['constant', 'threshold'], 1: ['constant', 'threshold'] }

/** Operator -> inputs that say what a weight there is, whatever its size. */
const INPUT_ROLES: Readonly<Record<string, InputRoles>> = {
  Conv: weightAndBias,
  ConvTranspose: weightAndBias,
  DeformConv: { 1: ['parameter', 'weight'], 3: ['parameter', 'bias'] },
  Gemm: { 0: ['parameter', 'matrix'], 1: ['parameter', 'matrix'], 2: ['parameter', 'bias'] },
  MatMul: { 0: ['parameter', 'matrix'], 1: ['parameter', 'matrix'] },
  BatchNormalization: {
    ...scaleAndBias,
    3: ['buffer', 'running mean'],
    4: ['buffer', 'running variance'],
  },
  InstanceNormalization: scaleAndBias,
  LayerNormalization: scaleAndBias,
  GroupNormalization: scaleAndBias,
  RMSNormalization: scaleAndBias,
  PRelu: { 1: ['parameter', 'slope'] },
  Gather: table,
  GatherElements: table,
  GatherND: table,
  LSTM: recurrent,
  GRU: recurrent,
  RNN: recurrent,
  Clip: { 1: ['constant', 'bound'], 2: ['constant', 'bound'] },
  Pow: { 1: ['constant', 'exponent'] },
  Max: { 0: ['constant', 'bound'], 1: ['constant', 'bound'] },
  Min: { 0: ['constant', 'bound'], 1: ['constant', 'bound'] },
  Mod: { 1: ['constant', 'divisor'] },
  Resize: sizes,
  Upsample: sizes,
  Pad: { 2: ['constant', 'padding'] },
  Range: { 0: ['constant', 'start'], 1: ['constant', 'limit'], 2: ['constant', 'step'] },
  Dropout: { 1: ['constant', 'ratio'] },
  OneHot: { 2: ['constant', 'on and off values'] },
  GridSample: { 1: ['constant', 'grid'] },
  STFT: { 2: ['constant', 'window'] },
  NonMaxSuppression: { 3: ['constant', 'threshold'], 4: ['constant', 'threshold'] },
  Equal: threshold,
  Greater: threshold,
  GreaterOrEqual: threshold,
  Less: threshold,
  LessOrEqual: threshold,
}

/** Operators that combine operands element by element. */
const ELEMENTWISE: ReadonlySet<string> = new Set(['Add', 'Sub', 'Mul', 'Div', 'Sum', 'Mean', 'Where'])

/** Whether a use says what a weight of `size` elements is, even where nothing but weights is computed. */
export function isTelling(size: number, { node, index }: Use): boolean {
  if (node.domain !== ONNX_DOMAIN) return false
  return INPUT_ROLES[node.opType]?.[index] !== undefined || (size === 1 && ELEMENTWISE.has(node.opType))
}

/**
 * A group normalization is exported as Reshape to [N,groups,...], InstanceNormalization with scale 1 and bias 0, Reshape
 * back, and only then the learned scale and bias.
 */
async function isPartOfGroupNorm(tensor: Tensor, { node, index }: WeightUse): Promise<boolean> {
  if (node.opType !== 'InstanceNormalization' || index === 0) return false
  return node.input(0).producer?.opType === 'Reshape' && (await isFilledWith(tensor, index === 1 ? 1 : 0))
}

/** Names of numbers that PyTorch's exporters write themselves. */
const GENERATED_NAME = /(^|\/)Constant(_\d+)?_output_\d+$|^onnx::|^val_\d+$/

/** A scale of ones, or a bias of zeros, of a normalization that learned none: the operator insists on having one. */
async function fillsPlace(weight: NamedTensor, use: WeightUse): Promise<boolean> {
  if (await isPartOfGroupNorm(weight.tensor, use)) return true
  const { node, index } = use
  if (!NORMALIZATIONS.has(node.opType) || !GENERATED_NAME.test(weight.name)) return false
  return (index === 1 || index === 2) && isFilledWith(weight.tensor, index === 1 ? 1 : 0)
}

const NORMALIZATIONS: ReadonlySet<string> = new Set([
  'BatchNormalization',
  'InstanceNormalization',
  'LayerNormalization',
  'GroupNormalization',
  'RMSNormalization',
])

/** Weights alone go through these where positions are encoded (rotary, Fourier), of which nothing is learned. */
const WAVES: ReadonlySet<string> = new Set(['Sin', 'Cos'])

type Uses = ReadonlyMap<Value, readonly Use[]>

/** A float weight and its name, which tells where exporters keep PyTorch's. */
export interface NamedTensor {
  readonly name: string
  readonly tensor: Tensor
  /** Whether a name with dots is the path of a module's parameter or buffer: an initializer of a file that PyTorch wrote. */
  readonly pathNamed?: boolean
}

/** Last parts of PyTorch's names of learned numbers: `blocks.0.act.scale`, `logit_scale`, `skipinit_gain`. */
const LEARNED_NAME = /(^|[._])(weight|bias|scale|gamma|beta|alpha|gain|temperature|tau)$/

/**
 * Whether a name is one that a module gives to what it learns; numbers that an exporter writes for itself are called
 * `val_6`, `onnx::Mul_12` or `/layer/Constant_output_0`.
 */
function hasLearnedName({ name }: NamedTensor): boolean {
  return LEARNED_NAME.test(name)
}

/** `blocks.0.resweight`, which is a parameter of one element. Numbers that a module keeps as a buffer have no dimension. */
function isParameterOfOne({ name, tensor, pathNamed }: NamedTensor): boolean {
  return pathNamed === true && tensor.dims.length > 0 && /^\w+(\.\w+)+$/.test(name)
}

/** Judges one use of a float weight; `uses` are those of the whole graph. Elements are read only where they tell. */
export async function judgeUse(weight: NamedTensor, use: WeightUse, uses: Uses): Promise<Judgement> {
  const { tensor } = weight
  const { node, index } = use
  if (use.path.some(becomesInteger)) return judge('constant', 'made whole numbers for', node)
  if (node.domain === ONNX_DOMAIN) {
    if (SHAPE_READERS.has(node.opType)) return judge('constant', 'only the shape is read by', node)
    if (use.path.some(step => WAVES.has(step.opType)))
      return judge('constant', 'frequencies of a sine table in', node)
    if (await fillsPlace(weight, use)) return judge('constant', 'fills a place in', node)
    const known = INPUT_ROLES[node.opType]?.[index]
    if (known) {
      // Standardised weights are normalised with statistics of their own, which are not stored.
      if (known[0] === 'buffer' && !isAsStored(use.path))
        return judge('constant', `gives the ${known[1]} of`, node)
      const made = FACTORS.has(known[1]) ? await howMade(weight, use) : null
      return made
        ? judge('constant', `${made}, as ${known[1]} of`, node)
        : judge(known[0], `${known[1]} of`, node)
    }
    if (use.path.some(step => FILLED.has(step.opType)) && (await isUniform(tensor)))
      return judge('constant', 'fills a place in', node)
    if (ELEMENTWISE.has(node.opType)) return judgeOperand(weight, use, uses)
  }
  const fused = FUSED_ROLES[node.key]?.[index]
  if (fused) {
    const masks = fused[0] === 'mask or bias' && (await isMask(tensor))
    return judge(masks || fused[0] === 'constant' ? 'constant' : 'parameter', `${fused[1]} of`, node)
  }
  return tensor.size === 1
    ? judge('constant', 'single number in', node)
    : judge('parameter', 'operand of', node)
}

/** What weights are called in the table of roles where their numbers can show that nothing of them was learned. */
const FACTORS: ReadonlySet<string> = new Set(['matrix', 'weight', 'table'])

/** So much of a large factor tells whether it is a table of positions. */
const GLANCE = 1024

/** How the numbers of a factor were made, if they were. */
async function howMade(weight: NamedTensor, { node, index, path }: WeightUse): Promise<string | null> {
  const { tensor } = weight
  if (node.opType.startsWith('Gather') && (await isSineTable(tensor))) return 'sine table'
  // Spectral normalization multiplies its weight by the vectors of the power iteration, before it meets any activation.
  const other = node.inputs[1 - index]
  if (node.opType === 'MatMul' && tensor.dims.length === 1 && isAsStored(path) && other && isStored(other)) {
    return 'vector of a power iteration'
  }
  if (tensor.size <= GLANCE && (await isProgression(tensor))) return 'steady progression'
  if (await isSteadyTable(tensor, GLANCE)) return 'table of positions'
  return !hasLearnedName(weight) && (await isRepetitive(tensor)) ? 'numbers that repeat' : null
}

/** Whether the nodes of a path leave all elements as they are. */
function isAsStored(path: readonly Node[]): boolean {
  return path.every(step => keepsElements(step.output(0)))
}

/** Whether a value is computed from weights by nothing but arithmetic and reshaping. */
function isStored(value: Value): boolean {
  const source = sourceOf(value)
  if (tensorOf(source)) return true
  const { producer } = source
  if (producer?.domain !== ONNX_DOMAIN || !WEIGHT_ARITHMETIC.has(producer.opType)) return false
  return producer.inputs.every(input => input === null || isStored(input))
}

const WEIGHT_ARITHMETIC: ReadonlySet<string> = new Set(['MatMul', 'Mul', 'Div', 'Transpose'])

/** Writers of a part of a tensor; where only weights are computed, one number in all of it is no weight. */
const FILLED: ReadonlySet<string> = new Set(['ScatterND', 'ScatterElements'])

/** A Cast to an integer type: what is learned stays a float. */
function becomesInteger(node: Node): boolean {
  if (node.opType !== 'Cast' || node.domain !== ONNX_DOMAIN) return false
  return !DTYPES[dtypeOfOnnx(node.int('to', 1), node.label)].float
}

function judge(role: WeightRole, what: string, node: Node): Judgement {
  return { role, reason: `${what} ${node.label}` }
}

async function judgeOperand(weight: NamedTensor, use: WeightUse, uses: Uses): Promise<Judgement> {
  const { tensor } = weight
  const { node } = use
  if (tensor.size === 1) {
    if (isBiasOfOneChannel(tensor, use)) return judge('parameter', 'bias in', node)
    const factor = node.opType === 'Mul' && isParameterOfOne(weight)
    return (hasLearnedName(weight) || factor) && !isPreprocessing(use)
      ? judge('parameter', 'learned number in', node)
      : judge('constant', 'single number in', node)
  }
  const perChannel = tensor.dims.filter(dim => dim > 1).length === 1
  if (perChannel && isPreprocessing(use)) return judge('constant', 'normalises the input in', node)
  const neutral = node.opType === 'Add' ? 0 : node.opType === 'Mul' ? 1 : null
  if (
    perChannel &&
    neutral !== null &&
    GENERATED_NAME.test(weight.name) &&
    (await isFilledWith(tensor, neutral))
  )
    return judge('constant', 'fills a place in', node)
  if (perChannel && isVariance(use))
    return judge('buffer', 'variance of a decomposed batch normalization in', node)
  if (perChannel && isMean(use, uses))
    return judge('buffer', 'mean of a decomposed batch normalization in', node)
  if (await isMask(tensor)) return judge('constant', 'mask in', node)
  if (!perChannel && !hasLearnedName(weight) && (await isEmptyMask(tensor, use, uses))) {
    return judge('constant', 'mask that hides nothing in', node)
  }
  if (!perChannel && node.opType === 'Mul' && !hasLearnedName(weight) && (await isFilledWith(tensor, 0)))
    return judge('constant', 'zeros to start from in', node)
  if (await isSineTable(tensor)) return judge('constant', 'sine table in', node)
  if (perChannel && (await isProgression(tensor))) return judge('constant', 'steady progression in', node)
  if (perChannel && (await isStepwise(tensor))) return judge('constant', 'runs of equal numbers in', node)
  if (await isSteadyTable(tensor)) return judge('constant', 'table of positions in', node)
  if (perChannel && !hasLearnedName(weight) && (await scalesPositions(use)))
    return judge('constant', 'slopes of a table of positions in', node)
  return judge('parameter', perChannel ? 'per-channel operand of' : 'table in', node)
}

/** Whether the weight is multiplied by a stored table of positions before it meets an activation, as in ALiBi. */
async function scalesPositions({ path }: WeightUse): Promise<boolean> {
  for (const step of path) {
    if (step.opType !== 'Mul') continue
    for (const input of step.inputs) {
      const tensor = input && tensorOf(sourceOf(input))
      if (tensor && ((await isProgression(tensor)) || (await isSteadyTable(tensor)))) return true
    }
  }
  return false
}

/** An attention mask of an example without padding: ones to multiply by, or one number to add before a Softmax. */
async function isEmptyMask(tensor: Tensor, { node }: WeightUse, uses: Uses): Promise<boolean> {
  if (node.opType === 'Mul') return isFilledWith(tensor, 1)
  const feedsSoftmax = (uses.get(node.output(0)) ?? []).some(next => next.node.opType === 'Softmax')
  return node.opType === 'Add' && feedsSoftmax && (await isUniform(tensor))
}

/** The operand that an elementwise node combines the weight with. */
function partner({ node, index }: Use): Value | null {
  return node.inputs.find((_, i) => i !== index && !(node.opType === 'Where' && i === 0)) ?? null
}

/** `Add(MatMul(x, w), b)` with one output channel: b has one element and is a bias all the same. */
function isBiasOfOneChannel(tensor: Tensor, use: WeightUse): boolean {
  if (use.node.opType !== 'Add' || tensor.dims.length === 0) return false
  const linear = partner(use)?.producer
  if (!linear || !['MatMul', 'Gemm', 'Conv'].includes(linear.opType)) return false
  const weight = tensorOf(sourceOf(linear.input(1)))
  if (!weight) return false
  const outputsFirst = linear.opType === 'Conv' || linear.int('transB', 0) === 1
  return (outputsFirst ? weight.dims[0] : weight.dims.at(-1)) === 1
}

const ARITHMETIC: ReadonlySet<string> = new Set(['Add', 'Sub', 'Mul', 'Div', 'Transpose'])

/** Whether nothing but arithmetic with constants lies between a fed input and this use. */
function isPreprocessing(use: WeightUse): boolean {
  let value = partner(use)
  for (;;) {
    if (!value) return false
    value = sourceOf(value)
    const node: Node | null = value.producer
    if (!node) return value.tensor === null
    if (node.domain !== ONNX_DOMAIN || !ARITHMETIC.has(node.opType)) return false
    value = node.inputs.find(input => input && !tensorOf(input)) ?? null
  }
}

/** `x / Sqrt(v + epsilon)`, also as a product with the reciprocal. */
function isVariance({ node, index, path }: WeightUse): boolean {
  const operators = path.map(step => step.opType)
  const root = operators.findIndex(opType => opType === 'Sqrt' || opType === 'Pow')
  if (root < 1 || operators[root - 1] !== 'Add') return false
  return node.opType === 'Mul' || (node.opType === 'Div' && index === 1)
}

/** `(x - m) / Sqrt(v + epsilon)`: the difference goes straight to the division by a standard deviation. */
function isMean({ node, index, path }: WeightUse, uses: Uses): boolean {
  if (node.opType !== 'Sub' || index !== 1 || path.some(step => step.opType === 'Mul')) return false
  return (uses.get(node.output(0)) ?? []).some(next => {
    const divisor = next.node.opType === 'Div' ? next.node.input(1) : null
    return next.index === 0 && divisor !== null && sourceOf(divisor).producer?.opType === 'Sqrt'
  })
}
