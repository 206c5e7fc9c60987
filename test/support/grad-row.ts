/** A way of using an operator, as data: inputs by domain and attributes; and the forward graph that it stands for. */

import type { RuleTable } from '../../src/autodiff/rule.ts'
import { decodeText } from '../../src/ir/attribute.ts'
import { Builder, type Attributes } from '../../src/ir/builder.ts'
import { Graph, Model } from '../../src/ir/graph.ts'
import { Value } from '../../src/ir/value.ts'
import { DTYPES, type DType } from '../../src/tensor/dtype.ts'
import { sizeOf, type Shape } from '../../src/tensor/shape.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { Random } from '../../src/util/random.ts'
import { openModel } from './ort.ts'

export interface InputSpec {
  shape: Shape
  /** Samples are uniform in [low, high]. */
  domain?: readonly [number, number]
  /** Samples nearer than 0.05 to one of these are moved away. */
  kinks?: readonly number[]
  /** Fixed elements instead of samples. */
  values?: readonly number[]
  /** Default: the row's. Other than floating-point: not differentiable, and `values` are needed. */
  dtype?: DType
  /** An initializer, e.g. axes; not differentiated unless `differentiable` says so. */
  constant?: boolean
  differentiable?: boolean
}

export interface GradRow {
  op: string
  /** A shape is a differentiable float input; null is an absent optional input. */
  inputs: readonly (Shape | InputSpec | null)[]
  attributes?: Attributes
  /** Number of outputs, or which are there; default 1. Gradients flow into the floating-point ones. */
  outputs?: number
  /** Default for all inputs. */
  domain?: readonly [number, number]
  kinks?: readonly number[]
  /** What inputs are sampled and run in; float64 unless onnxruntime has no float64 kernel for some operator. */
  dtype?: 'float32' | 'float64'
  /** onnxruntime's float32 kernel fails where its float64 kernel does not: nothing to compare engines with. */
  float64Only?: boolean
  /** |analytic - numeric| <= tolerance * max(1, |numeric|). Default 1e-6 in float64, 2e-3 in float32. */
  tolerance?: number
  /** Step of the central difference. Default 1e-5 in float64, 1e-2 in float32. */
  delta?: number
  seed?: number
  opset?: number
  domainName?: string
  /** Writes several nodes instead of one; `op` is then a title. Values have static shapes. */
  build?: (op: Builder, inputs: readonly (Value | null)[]) => readonly Value[]
  rules?: RuleTable
  /** Replaces composite operators before the graph is run. */
  lower?: (graph: Graph) => Graph
}

/** The row as it appears in test names and failures: `Gemm {transA=1} (2x3, 3x4)`. */
export function rowName(row: GradRow): string {
  const attributes = Object.entries(row.attributes ?? {})
    .map(([name, value]) => `${name}=${describeAttribute(value)}`)
    .join(' ')
  const inputs = row.inputs.map(input => {
    if (input === null) return '_'
    const spec = specOf(input)
    return spec.constant && spec.values ? `[${spec.values.join()}]` : spec.shape.join('x') || 'scalar'
  })
  return `${row.op}${attributes ? ` {${attributes}}` : ''} (${inputs.join(', ')})`
}

function describeAttribute(value: Attributes[string]): string {
  if (typeof value === 'object' && 'kind' in value) {
    return value.kind === 'strings' ? value.value.map(decodeText).join() : `${value.value as number}`
  }
  return Array.isArray(value) ? `[${value.join()}]` : String(value)
}

export interface Setup {
  readonly row: GradRow
  readonly dtype: 'float32' | 'float64'
  readonly specs: readonly (InputSpec | null)[]
  readonly tensors: readonly (Tensor | null)[]
  /** Indices of the inputs that are differentiated. */
  readonly differentiable: readonly number[]
  readonly title: string
  readonly seed: number
}

function specOf(input: Shape | InputSpec): InputSpec {
  return 'shape' in input ? input : { shape: input }
}

/** Samples the inputs. */
export function prepare(row: GradRow): Setup {
  const seed = row.seed ?? 20260801
  const dtype = row.dtype ?? 'float64'
  const specs = row.inputs.map(input => (input === null ? null : specOf(input)))
  const random = Random.of(seed, 0)
  const tensors = specs.map(spec => spec && sample(spec, row, dtype, random))
  const differentiable = specs.flatMap((spec, i) =>
    spec && (spec.differentiable ?? (!spec.constant && DTYPES[spec.dtype ?? dtype].float)) ? [i] : [],
  )
  return { row, dtype, specs, tensors, differentiable, title: rowName(row), seed }
}

function sample(spec: InputSpec, row: GradRow, dtype: DType, random: Random): Tensor {
  const type = spec.dtype ?? dtype
  if (spec.values) {
    const whole = type === 'int64' || type === 'uint64'
    return Tensor.of(type, spec.shape, whole ? spec.values.map(BigInt) : spec.values)
  }
  const [low, high] = spec.domain ?? row.domain ?? [-2, 2]
  const kinks = spec.kinks ?? row.kinks ?? []
  const draw = (): number => {
    const x = low + (high - low) * random.float()
    return kinks.some(kink => Math.abs(x - kink) < 0.05) ? draw() : x
  }
  return Tensor.of(type, spec.shape, Array.from({ length: sizeOf(spec.shape) }, draw))
}

/** Writes the forward nodes; `types` are the outputs', shapes unknown on the first call. */
export function writeForward(
  setup: Setup,
  op: Builder,
  inputs: readonly (Value | null)[],
  types: readonly OutputType[] | null,
): readonly Value[] {
  const { row } = setup
  if (row.build) return row.build(op, inputs)
  const specs = types ?? Array.from({ length: row.outputs ?? 1 }, () => ({ shape: [], dtype: setup.dtype }))
  const values = op.emit(row.op, inputs, specs, row.attributes, row.domainName)
  values.forEach((value, i) => (value.name = `y${i}`))
  if (!types) for (const value of values) value.type = null
  return values
}

export interface OutputType {
  readonly shape: Shape
  readonly dtype: DType
}

export function inputValues(setup: Setup): (Value | null)[] {
  return setup.tensors.map((tensor, i) => {
    if (!tensor) return null
    const value = Value.typed(`x${i}`, tensor.dtype, tensor.dims)
    if (setup.specs[i]!.constant) value.tensor = tensor
    return value
  })
}

export function modelOf(
  setup: Setup,
  op: Builder,
  inputs: readonly Value[],
  outputs: readonly Value[],
): Model {
  let graph = new Graph('check_grads')
  graph.inputs = inputs.filter(input => !input.tensor)
  graph.initializers = [...inputs.filter(input => input.tensor), ...op.initializers]
  graph.nodes = [...op.nodes]
  graph.outputs = [...outputs]
  graph = setup.row.lower?.(graph) ?? graph
  const opsets = new Map([['', setup.row.opset ?? 20]])
  for (const node of graph.nodes) if (node.domain) opsets.set(node.domain, 1)
  return new Model(graph, 10, opsets)
}

/** Shapes and types of the outputs: onnxruntime knows them. */
export async function observeOutputs(setup: Setup): Promise<readonly OutputType[] | null> {
  if (setup.row.build) return null
  const op = new Builder()
  const inputs = inputValues(setup)
  const outputs = writeForward(setup, op, inputs, null)
  const model = modelOf(setup, op, present(inputs), outputs)
  const session = await openModel(model)
  try {
    const found = await session.run(feedsOf(setup))
    return outputs.map(output => ({ shape: found[output.name]!.dims, dtype: found[output.name]!.dtype }))
  } finally {
    await session.close()
  }
}

export function present(values: readonly (Value | null)[]): Value[] {
  return values.filter(value => value !== null)
}

export function feedsOf(setup: Setup, replaced?: { index: number; tensor: Tensor }): Record<string, Tensor> {
  const feeds: Record<string, Tensor> = {}
  setup.tensors.forEach((tensor, i) => {
    if (tensor && !setup.specs[i]!.constant) feeds[`x${i}`] = replaced?.index === i ? replaced.tensor : tensor
  })
  return feeds
}

/** A constant int64 vector: axes, pads, sizes. */
export function constants(...values: number[]): InputSpec {
  return { shape: [values.length], dtype: 'int64', values, constant: true }
}
