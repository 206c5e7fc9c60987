/** One-operator models with PyTorch's outputs and gradients (fixtures/ops, written by tools/fixtures/ops.py). */

import * as assert from 'uvu/assert'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { pullBack } from '../../src/autodiff/driver.ts'
import { RULES } from '../../src/autodiff/index.ts'
import {
  COMPOSITE_LOWERINGS,
  lowerComposites,
  type CompositeLowerings,
} from '../../src/autodiff/lowering/index.ts'
import { toTrainingBatchNorm } from '../../src/autodiff/training-batch-norm.ts'
import { ints } from '../../src/ir/attribute.ts'
import { Builder } from '../../src/ir/builder.ts'
import { Graph, Model } from '../../src/ir/graph.ts'
import type { Node } from '../../src/ir/node.ts'
import { Value } from '../../src/ir/value.ts'
import { convWindow, type Window } from '../../src/ops/window.ts'
import { isTrainingForm, raiseOpset } from '../../src/passes/index.ts'
import { definitionsOf } from '../../src/passes/names.ts'
import type { Engine } from '../../src/runtime/engine.ts'
import { serializeLowered, type Program } from '../../src/runtime/program.ts'
import { deserializeModel } from '../../src/serde/index.ts'
import type { Tensor } from '../../src/tensor/tensor.ts'
import { messageOf } from '../../src/util/errors.ts'
import { runModel } from './ort.ts'
import { readSafetensors } from './safetensors.ts'

const FOLDER = join(import.meta.dirname, '../../fixtures/ops')

export interface OpCase {
  readonly name: string
  readonly op: string
  readonly opset: number
  readonly inputs: readonly string[]
  readonly outputs: readonly string[]
  /** Outputs that a gradient flows into. */
  readonly dy: readonly string[]
  /** Inputs that have a reference gradient. */
  readonly dx: readonly string[]
  /** Who else computed the outputs; onnxruntime, unless it refuses the case. */
  readonly checked_by: string
}

export interface OpCaseOptions {
  readonly tolerance?: number
  /** Lowers composites by this table and runs on onnxruntime's CPU provider. */
  readonly lowerings?: CompositeLowerings
  /** Lowers and runs on this engine instead. */
  readonly engine?: Engine
}

/** A case's forward and backward graph as a program without state, and what its outputs must be. */
export interface OpProgram {
  readonly program: Program
  readonly feeds: Readonly<Record<string, Tensor>>
  /** Compares the outputs of a run with PyTorch's outputs and gradients. */
  readonly check: (results: Readonly<Record<string, Tensor>>, tolerance: number) => void
}

/** Every case of both indices. */
export function opCases(): readonly OpCase[] {
  return ['index.json', 'sequence.json'].flatMap(file => {
    const { cases } = JSON.parse(readFileSync(join(FOLDER, file), 'utf8')) as { cases: OpCase[] }
    return cases
  })
}

/** Runs the case forward and backward, and compares outputs and gradients. */
export async function checkOpCase(fixture: OpCase, options: OpCaseOptions = {}): Promise<void> {
  const { tolerance = 1e-5, lowerings = COMPOSITE_LOWERINGS, engine } = options
  const { program, feeds, check } = await opProgram(fixture)
  if (engine) {
    check(await runOn(engine, program, feeds), tolerance)
  } else {
    const lowered = lowerComposites(program.graph, lowerings)
    check(await runModel(new Model(lowered, 10, new Map([['', program.opset]])), feeds), tolerance)
  }
}

/** Differentiates the case's model. */
export async function opProgram(fixture: OpCase): Promise<OpProgram> {
  const tensors = readSafetensors(join(FOLDER, `${fixture.name}.safetensors`))
  const model = await deserializeModel(readFileSync(join(FOLDER, `${fixture.name}.onnx`)), fixture.name)
  raiseOpset(model, 18)
  const inputs = Object.fromEntries(
    model.graph.feeds.map(({ name }) => [name, tensors.get(`input/${name}`)!]),
  )
  if (fixture.checked_by === 'onnxruntime') await observeShapes(model, inputs)
  else statePads(model, tensors)

  // Running statistics are buffers: frozen BatchNormalization gives them no gradient.
  const wanted = fixture.dx.filter(name => !['input_mean', 'input_var'].includes(name))
  const { graph } = model
  const op = new Builder(namesOf(graph))
  const nodes = graph.nodes.map(node => forTraining(node, op))
  op.nodes.length = 0
  op.nodes.push(...nodes)
  const seeds = new Map(
    fixture.dy.map(name => {
      const y = graph.outputs.find(output => output.name === name)!
      return [y, Value.typed(`dy/${name}`, y.dtype, y.shape)] as const
    }),
  )
  const targets = wanted.map(name => graph.inputs.find(input => input.name === name)!)
  const rules = { rules: RULES, opset: model.opset, unreached: 'error' as const }
  const found = pullBack(op, nodes, seeds, targets, rules)

  const whole = new Graph(fixture.name)
  whole.inputs = [...graph.inputs, ...seeds.values()]
  whole.initializers = [...graph.initializers, ...op.initializers]
  whole.nodes = op.nodes
  // Identity: a gradient may be a seed, or the gradient of another input as well.
  const gradients = targets.map(target => op.Identity(found.get(target)!))
  whole.outputs = [...seeds.keys(), ...gradients]
  const fed = whole.feeds.map(({ name, dtype, shape }) => ({ name, dtype, shape }))
  const feeds = {
    ...inputs,
    ...Object.fromEntries(fixture.dy.map(name => [`dy/${name}`, tensors.get(`dy/${name}`)!])),
  }
  // A gradient that is a small difference of large terms (softmax at its ends) is known to a rounding of those: of dy.
  const rounding = 1e-7 * Math.max(...fixture.dy.map(name => norm(tensors.get(`dy/${name}`)!.toNumbers())))
  return {
    program: { graph: whole, opset: model.opset, state: [], inputs: fed, metrics: [] },
    feeds,
    check(results, tolerance) {
      for (const [y, name] of [...seeds.keys()].map((y, i) => [y, fixture.dy[i]!] as const)) {
        compare(results[y.name]!, tensors.get(`output/${name}`)!, `${fixture.name}: ${name}`, tolerance, 0)
      }
      for (const [i, name] of wanted.entries()) {
        const what = `${fixture.name}: gradient of ${name}`
        compare(results[gradients[i]!.name]!, tensors.get(`dx/${name}`)!, what, tolerance, rounding)
      }
    },
  }
}

/** Cases in one session: sessions on a device are slow to open. */
const GROUP = 24

/**
 * Runs cases on an engine, many in a session, and compares each with PyTorch; gives what is wrong with a case, or null. A
 * group that fails as a whole is run case by case.
 */
export async function checkOpCases(
  cases: readonly OpCase[],
  engine: Engine,
  tolerance = 1e-5,
): Promise<Map<OpCase, Error | null>> {
  const programs = await Promise.all(cases.map(opProgram))
  const problems = new Map<OpCase, Error | null>()
  for (const opset of new Set(programs.map(({ program }) => program.opset))) {
    const members = cases.flatMap((each, i) => (programs[i]!.program.opset === opset ? [each] : []))
    for (let i = 0; i < members.length; i += GROUP) {
      const group = members.slice(i, i + GROUP)
      const together = await outcomeOf(() => checkTogether(group, engine, tolerance))
      for (const each of group) {
        const problem = together && (await outcomeOf(() => checkOpCase(each, { tolerance, engine })))
        problems.set(each, problem)
      }
    }
  }
  return problems
}

async function outcomeOf(check: () => Promise<void>): Promise<Error | null> {
  try {
    await check()
    return null
  } catch (error) {
    return error instanceof Error ? error : new Error(messageOf(error))
  }
}

/** One graph of all cases of a group, names of each under that of the case. */
async function checkTogether(cases: readonly OpCase[], engine: Engine, tolerance: number): Promise<void> {
  const programs = await Promise.all(cases.map(opProgram))
  const whole = new Graph('cases')
  const feeds: Record<string, Tensor> = {}
  programs.forEach(({ program: { graph }, feeds: fed }, i) => {
    const prefix = cases[i]!.name
    for (const [name, tensor] of Object.entries(fed)) feeds[`${prefix}/${name}`] = tensor
    for (const node of graph.nodes) node.name = `${prefix}/${node.name}`
    for (const value of definitionsOf(graph)) value.name = `${prefix}/${value.name}`
    whole.inputs.push(...graph.inputs)
    whole.initializers.push(...graph.initializers)
    whole.nodes.push(...graph.nodes)
    whole.outputs.push(...graph.outputs)
  })
  const { opset } = programs[0]!.program
  const program: Program = { graph: whole, opset, state: [], inputs: [], metrics: [] }
  const results = await runOn(engine, program, feeds)
  for (const { check } of programs) check(results, tolerance)
}

export async function runOn(
  engine: Engine,
  program: Program,
  feeds: Readonly<Record<string, Tensor>>,
): Promise<Record<string, Tensor>> {
  const runner = await engine.openRunner(await serializeLowered(engine.lower(program)))
  try {
    return Object.fromEntries(await runner.run(new Map(Object.entries(feeds))))
  } finally {
    await runner.close()
  }
}

function compare(found: Tensor, expected: Tensor, what: string, tolerance: number, rounding: number): void {
  assert.equal([...found.dims], [...expected.dims], `${what}: shape`)
  const [a, b] = [found.toNumbers(), expected.toNumbers()]
  const error = norm(a.map((value, i) => value - b[i]!))
  const allowed = tolerance * norm(b) + rounding
  assert.ok(error <= allowed, `${what}: error ${error}, allowed ${allowed} (tolerance ${tolerance})`)
}

function norm(values: readonly number[]): number {
  return Math.hypot(...values)
}

/** onnxruntime refuses auto_pad SAME with dilations: the same convolution with its pads written out. */
function statePads(model: Model, tensors: ReadonlyMap<string, Tensor>): void {
  const node = model.graph.nodes[0]!
  const y = node.output(0)
  const { dtype, dims } = tensors.get(`output/${y.name}`)!
  y.type = { kind: 'tensor', dtype, shape: dims }
  const { begin, end } = pads(convWindow(node))
  node.attributes.delete('auto_pad')
  node.attributes.set('pads', ints([...begin, ...end]))
}

function pads(window: Window): { begin: number[]; end: number[] } {
  return { begin: window.map(axis => axis.begin), end: window.map(axis => axis.end) }
}

/** Gives every value a node makes the type that onnxruntime finds. */
async function observeShapes(model: Model, feeds: Record<string, Tensor>): Promise<void> {
  const { graph } = model
  const outputs = graph.outputs
  graph.outputs = graph.nodes.flatMap(node => node.outputs.filter(output => output !== null))
  const found = await runModel(model, feeds)
  for (const value of graph.outputs) {
    const { dtype, dims } = found[value.name]!
    value.type = { kind: 'tensor', dtype, shape: dims }
  }
  graph.outputs = outputs
}

function forTraining(node: Node, op: Builder): Node {
  const training = node.opType === 'BatchNormalization' && isTrainingForm(node)
  return training ? toTrainingBatchNorm(node, op).node : node
}

function namesOf(graph: Graph): string[] {
  const made = graph.nodes.flatMap(node => [node.name, ...node.outputs.map(output => output?.name ?? '')])
  return [...graph.inputs.map(({ name }) => name), ...graph.initializers.map(({ name }) => name), ...made]
}
