/**
 * Gradient rules against finite differences, on onnxruntime's CPU engine.
 *
 * 1. Inputs are seeded samples of a stated domain, kept away from stated kinks.
 * 2. For a random direction v per differentiable input and a random w per output, `<w, (f(x+dv) - f(x-dv)) / 2d>` is
 *    compared with `<J'w, v>`, where J'w comes from the emitted graph; three directions, each input on its own.
 * 3. Every gradient is made again with each input in turn frozen, and must not change.
 *
 * The numbers are float64 where onnxruntime has float64 kernels (the default), which leaves six digits of agreement.
 */

import * as assert from 'uvu/assert'
import { RULES } from '../../src/autodiff/index.ts'
import { pullBack } from '../../src/autodiff/driver.ts'
import type { RuleTable } from '../../src/autodiff/rule.ts'
import { Builder, type Attributes } from '../../src/ir/builder.ts'
import { Graph, Model } from '../../src/ir/graph.ts'
import { printNode } from '../../src/ir/print.ts'
import { Value } from '../../src/ir/value.ts'
import { DTYPES, type DType } from '../../src/tensor/dtype.ts'
import { formatShape, sameShape, sizeOf, type Shape } from '../../src/tensor/shape.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { Random } from '../../src/util/random.ts'
import { openModel, type Feeds, type OpenModel } from './ort.ts'

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

const DIRECTIONS = 3

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
  if (typeof value === 'object' && 'kind' in value) return `${value.value as number}`
  return Array.isArray(value) ? `[${value.join()}]` : String(value)
}

interface Setup {
  readonly row: GradRow
  readonly dtype: 'float32' | 'float64'
  readonly specs: readonly (InputSpec | null)[]
  readonly tensors: readonly (Tensor | null)[]
  /** Indices of the inputs that are differentiated. */
  readonly differentiable: readonly number[]
  readonly title: string
  readonly seed: number
}

/** Checks one row; throws an assertion error that says what differs and where. */
export async function checkGrads(row: GradRow): Promise<void> {
  const setup = prepare(row)
  const shapes = await observeOutputs(setup)
  const model = gradientModel(setup, shapes)
  const session = await openModel(model.model)
  try {
    const random = Random.of(setup.seed, 1)
    for (let direction = 0; direction < DIRECTIONS; direction++) {
      await checkDirection(setup, model, session, random, direction)
    }
  } finally {
    await session.close()
  }
}

function specOf(input: Shape | InputSpec): InputSpec {
  return 'shape' in input ? input : { shape: input }
}

/** Samples the inputs. */
function prepare(row: GradRow): Setup {
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
function writeForward(
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

interface OutputType {
  readonly shape: Shape
  readonly dtype: DType
}

function inputValues(setup: Setup): (Value | null)[] {
  return setup.tensors.map((tensor, i) => {
    if (!tensor) return null
    const value = Value.typed(`x${i}`, tensor.dtype, tensor.dims)
    if (setup.specs[i]!.constant) value.tensor = tensor
    return value
  })
}

function modelOf(setup: Setup, op: Builder, inputs: readonly Value[], outputs: readonly Value[]): Model {
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
async function observeOutputs(setup: Setup): Promise<readonly OutputType[] | null> {
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

interface GradientModel {
  readonly model: Model
  readonly outputs: readonly Value[]
  readonly seeds: ReadonlyMap<Value, Value>
  /** For each frozen input (-1: none), the gradient of each other input by index. */
  readonly gradients: ReadonlyMap<number, ReadonlyMap<number, Value>>
  /** The emitted nodes, for failures. */
  readonly text: string
}

/** One model that holds the forward nodes and, for each choice of a frozen input, a backward graph. */
function gradientModel(setup: Setup, types: readonly OutputType[] | null): GradientModel {
  const inputs = inputValues(setup)
  const op = new Builder(present(inputs).map(input => input.name))
  const outputs = writeForward(setup, op, inputs, types)
  const forward = [...op.nodes]
  const seeds = new Map(
    outputs
      .filter(output => DTYPES[output.dtype].float)
      .map((output, i) => [output, Value.typed(`dy${i}`, output.dtype, output.shape)]),
  )
  const options = { rules: setup.row.rules ?? RULES, opset: setup.row.opset ?? 20 }
  const gradients = new Map<number, Map<number, Value>>()
  let text = ''
  for (const frozen of setup.differentiable.length > 1 ? [-1, ...setup.differentiable] : [-1]) {
    const wanted = setup.differentiable.filter(index => index !== frozen)
    const targets = wanted.map(index => inputs[index]!)
    const found = pullBack(op, forward, seeds, targets, options)
    gradients.set(frozen, new Map(wanted.map(index => [index, op.Identity(found.get(inputs[index]!)!)])))
    if (frozen === -1) text = op.nodes.map(printNode).join('\n')
    for (const index of wanted) checkType(setup, index, found.get(inputs[index]!)!)
  }
  const wanted = [...gradients.values()].flatMap(map => [...map.values()])
  const model = modelOf(setup, op, [...present(inputs), ...seeds.values()], [...seeds.keys(), ...wanted])
  return { model, outputs: [...seeds.keys()], seeds, gradients, text }
}

function checkType(setup: Setup, index: number, gradient: Value): void {
  const input = setup.tensors[index]!
  assert.ok(
    gradient.dtype === input.dtype && sameShape(gradient.shape, input.dims),
    `${setup.title}: gradient of input ${index} is ${gradient.toString()}, expected ${input.dtype}${formatShape(input.dims)}`,
  )
}

function present(values: readonly (Value | null)[]): Value[] {
  return values.filter(value => value !== null)
}

function feedsOf(setup: Setup, replaced?: { index: number; tensor: Tensor }): Record<string, Tensor> {
  const feeds: Record<string, Tensor> = {}
  setup.tensors.forEach((tensor, i) => {
    if (tensor && !setup.specs[i]!.constant) feeds[`x${i}`] = replaced?.index === i ? replaced.tensor : tensor
  })
  return feeds
}

/** Compares one direction for each input, and the gradients with an input frozen. */
async function checkDirection(
  setup: Setup,
  model: GradientModel,
  session: OpenModel,
  random: Random,
  direction: number,
): Promise<void> {
  const { row, title } = setup
  const normal = (shape: Shape) => Array.from({ length: sizeOf(shape) }, () => random.normal())
  const weights = model.outputs.map(output => normal(output.shape))
  const seeds = Object.fromEntries(
    [...model.seeds.values()].map((seed, i) => [seed.name, Tensor.of(seed.dtype, seed.shape, weights[i]!)]),
  )
  const forward = async (feeds: Feeds) => {
    const found = await session.run({ ...feeds, ...seeds })
    return found
  }
  const loss = (found: Record<string, Tensor>) =>
    model.outputs.reduce((sum, output, i) => sum + dot(found[output.name]!.toNumbers(), weights[i]!), 0)
  const base = await forward(feedsOf(setup))
  const gradient = (frozen: number, index: number) =>
    base[model.gradients.get(frozen)!.get(index)!.name]!.toNumbers()

  const delta = row.delta ?? (setup.dtype === 'float64' ? 1e-5 : 1e-2)
  const tolerance = row.tolerance ?? (setup.dtype === 'float64' ? 1e-6 : 2e-3)
  for (const index of setup.differentiable) {
    const input = setup.tensors[index]!
    const numbers = input.toNumbers()
    const shifted = async (v: readonly number[], step: number) => {
      const tensor = Tensor.of(
        input.dtype,
        input.dims,
        numbers.map((x, i) => x + step * v[i]!),
      )
      return loss(await forward(feedsOf(setup, { index, tensor })))
    }
    const difference = async (v: readonly number[]) =>
      ((await shifted(v, delta)) - (await shifted(v, -delta))) / (2 * delta)
    const v = normal(input.dims)
    const analytic = gradient(-1, index)
    const found = dot(analytic, v)
    const expected = await difference(v)
    const close = Math.abs(found - expected) <= tolerance * Math.max(1, Math.abs(expected))
    if (!close) {
      const table = await elementTable(analytic, numbers, difference)
      assert.unreachable(
        `${title}: gradient of input ${index} along direction ${direction} is ${found}, expected ${expected} ` +
          `(tolerance ${tolerance}, ${setup.dtype}, seed ${setup.seed})\n${table}\n${model.text}`,
      )
    }
    for (const frozen of setup.differentiable.filter(other => other !== index)) {
      const again = gradient(frozen, index)
      const worst = again.findIndex(
        (value, i) => !(Math.abs(value - analytic[i]!) <= 1e-5 * Math.max(1, Math.abs(value))),
      )
      assert.is(
        worst,
        -1,
        `${title}: gradient of input ${index} changes at element ${worst} from ${analytic[worst]!} to ${again[worst]!} when input ${frozen} needs none (seed ${setup.seed})`,
      )
    }
  }
}

function dot(a: readonly number[], b: readonly number[]): number {
  return a.reduce((sum, value, i) => sum + value * b[i]!, 0)
}

/** The gradient element by element, computed when a direction failed: which elements are wrong? */
async function elementTable(
  analytic: readonly number[],
  inputs: readonly number[],
  difference: (v: readonly number[]) => Promise<number>,
): Promise<string> {
  const rows = ['  element        input       found    expected']
  for (let i = 0; i < Math.min(analytic.length, 64); i++) {
    const expected = await difference(inputs.map((_, j) => Number(i === j)))
    const cells = [inputs[i]!, analytic[i]!, expected].map(value => value.toPrecision(6).padStart(12))
    rows.push(`  ${String(i).padStart(7)} ${cells.join('')}`)
  }
  return rows.join('\n')
}

type TestFunction = (name: string, run: () => Promise<void>) => void

/** Registers one test a row. */
export function testRows(test: TestFunction, rows: readonly GradRow[]): void {
  for (const row of rows) test(rowName(row), () => checkGrads(row))
}

/** A constant int64 vector: axes, pads, sizes. */
export function constants(...values: number[]): InputSpec {
  return { shape: [values.length], dtype: 'int64', values, constant: true }
}
