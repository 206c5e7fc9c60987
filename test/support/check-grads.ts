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
import { Builder } from '../../src/ir/builder.ts'
import type { Model } from '../../src/ir/graph.ts'
import { printNode } from '../../src/ir/print.ts'
import { Value } from '../../src/ir/value.ts'
import { DTYPES } from '../../src/tensor/dtype.ts'
import { formatShape, sameShape, sizeOf, type Shape } from '../../src/tensor/shape.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { Random } from '../../src/util/random.ts'
import {
  feedsOf,
  inputValues,
  modelOf,
  observeOutputs,
  prepare,
  present,
  rowName,
  writeForward,
  type GradRow,
  type OutputType,
  type Setup,
} from './grad-row.ts'
import { openModel, type Feeds, type OpenModel } from './ort.ts'

const DIRECTIONS = 3

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
