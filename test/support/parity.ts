/**
 * An engine beside the CPU engine, whose numbers other tests compare with PyTorch's and with finite differences: every
 * gradient rule and composite on the rows of test/autodiff/rows, and ten training steps of the fixture models.
 */

import * as assert from 'uvu/assert'
import { RULES } from '../../src/autodiff/index.ts'
import type { Engine } from '../../src/runtime/engine.ts'
import { cpuEngine } from '../../src/runtime/ort-cpu/engine.ts'
import { serializeLowered } from '../../src/runtime/program.ts'
import type { Tensor } from '../../src/tensor/tensor.ts'
import { messageOf } from '../../src/util/errors.ts'
import { GRAD_ROWS } from '../autodiff/rows/index.ts'
import { relativeError } from './close.ts'
import { parityCase, parityProgram, type ParityCase } from './parity-cases.ts'
import { gradientsOf, openTraining, PLAIN_SGD, row, type OpenTraining } from './training.ts'

/** What a case gave on an engine, output by output; or why it gave nothing. */
type Outcome = readonly Tensor[] | Error

/** |a - b| / |b| of an output, in the Euclidean norm. */
const TOLERANCE = 1e-4
/** Sums that cancel are known to a rounding of their terms, which are of the order of one here. */
const ROUNDING = 1e-5

type TestFunction = (name: string, run: () => Promise<void>) => void

export interface ParityOptions {
  /** Row name -> why this engine refuses it; the refusal is checked to be an error that says so. */
  readonly refused?: ReadonlyMap<string, RegExp>
  /** Operator -> relative tolerance, where an engine's own precision is lower; 1e-4 for the others. */
  readonly tolerances?: Readonly<Record<string, number>>
  /** At most so many rows of each operator; all by default. */
  readonly rows?: number
}

/** Registers a test for each operator: all its rows on `engine` against the CPU engine. */
export async function testRules(
  test: TestFunction,
  open: () => Promise<Engine>,
  { refused = new Map(), tolerances = {}, rows: most = Infinity }: ParityOptions = {},
): Promise<void> {
  const all = GRAD_ROWS.filter(row => !row.float64Only)
  const chosen = [...groupBy(all, ({ op }) => op).values()].flatMap(rows => rows.slice(0, most))
  const cases = await Promise.all(chosen.map(parityCase))
  if (most === Infinity) testCoverage(test, cases)

  let outcomes: Promise<
    readonly [reference: Map<ParityCase, Outcome>, found: Map<ParityCase, Outcome>]
  > | null = null
  const computed = () =>
    (outcomes ??= (async () =>
      [await runAll(referenceEngine(), cases), await runAll(await open(), cases)] as const)())
  for (const [operator, rows] of groupBy(cases, ({ setup }) => setup.row.op)) {
    test(`${operator} (${rows.length})`, async () => {
      const [reference, found] = await computed()
      const problems = rows.flatMap(row =>
        differences(row, reference.get(row)!, found.get(row)!, refused, tolerances[operator] ?? TOLERANCE),
      )
      assert.equal(problems, [])
    })
  }
}

function testCoverage(test: TestFunction, cases: readonly ParityCase[]): void {
  const covered = new Set(byOpset(cases).flatMap(group => [...parityProgram(group).rules]))
  test('every gradient rule and composite has a row', () => {
    assert.equal(
      Object.keys(RULES).filter(key => !covered.has(key)),
      [],
    )
    return Promise.resolve()
  })
}

function byOpset(cases: readonly ParityCase[]): ParityCase[][] {
  return [...groupBy(cases, ({ opset }) => opset).values()]
}

function groupBy<T, K>(items: readonly T[], key: (item: T) => K): Map<K, T[]> {
  const groups = new Map<K, T[]>()
  for (const item of items) groups.set(key(item), [...(groups.get(key(item)) ?? []), item])
  return groups
}

/** The CPU engine's kernels without ONNX Runtime's optimizer: one thing less on which both sides rely, in a quarter of the time. */
function referenceEngine(): Engine {
  const cpu = cpuEngine()
  return { ...cpu, openRunner: model => cpu.openRunner(model, { optimization: 'disabled' }) }
}

/** Cases in one session: opening one has its price, and optimizing a graph takes longer than linear in its size. */
const GROUP = 32

/** Runs all cases, many in a session. */
async function runAll(engine: Engine, cases: readonly ParityCase[]): Promise<Map<ParityCase, Outcome>> {
  const outcomes = new Map<ParityCase, Outcome>()
  for (const group of byOpset(cases)) {
    for (let i = 0; i < group.length; i += GROUP) await runGroup(engine, group.slice(i, i + GROUP), outcomes)
  }
  return outcomes
}

/** A group that fails is halved until the cases that fail are alone. */
async function runGroup(
  engine: Engine,
  cases: readonly ParityCase[],
  outcomes: Map<ParityCase, Outcome>,
): Promise<void> {
  try {
    const { program, feeds, outputs } = parityProgram(cases)
    const runner = await engine.openRunner(await serializeLowered(engine.lower(program)))
    try {
      const found = await runner.run(feeds)
      cases.forEach((each, i) =>
        outcomes.set(
          each,
          outputs[i]!.map(name => found.get(name)!),
        ),
      )
    } finally {
      await runner.close()
    }
  } catch (error) {
    if (cases.length === 1) {
      outcomes.set(cases[0]!, error instanceof Error ? error : new Error(messageOf(error)))
      return
    }
    const half = cases.length >> 1
    await runGroup(engine, cases.slice(0, half), outcomes)
    await runGroup(engine, cases.slice(half), outcomes)
  }
}

function differences(
  { name }: ParityCase,
  reference: Outcome,
  found: Outcome,
  refused: ReadonlyMap<string, RegExp>,
  tolerance: number,
): string[] {
  if (reference instanceof Error) return [`${name}: the CPU engine failed: ${reference.message}`]
  const refusal = refused.get(name)
  if (refusal) {
    if (found instanceof Error && refusal.test(found.message)) return []
    const what = found instanceof Error ? found.message : 'a result'
    return [`${name}: expected a refusal such as ${refusal}, found ${what}`]
  }
  if (found instanceof Error) return [`${name}: ${found.message}`]
  return reference.flatMap((expected, i) => {
    const [a, b] = [found[i]!.toNumbers(), expected.toNumbers()]
    if (a.length !== b.length) return [`${name}: output ${i} has ${a.length} elements, expected ${b.length}`]
    const error = Math.hypot(...a.map((value, k) => value - b[k]!))
    const allowed = tolerance * Math.hypot(...b) + ROUNDING * Math.sqrt(b.length)
    return error <= allowed
      ? []
      : [`${name}: output ${i} is off by ${error} (${relativeError(a, b)} relative)`]
  })
}

/** Registers, for fixture models: every gradient of one step, then ten steps, on `engine` against the CPU engine. */
export function testModels(test: TestFunction, open: () => Promise<Engine>, models: readonly string[]): void {
  for (const name of models) {
    test(`${name}: gradients`, async () => {
      const { gradients, zero } = await gradientsOn(name, cpuEngine())
      const found = await gradientsOn(name, await open())
      const whole = Math.hypot(...[...gradients.values()].flatMap(tensor => tensor.toNumbers()))
      const problems = [...gradients].flatMap(([parameter, expected]) => {
        const [a, b] = [found.gradients.get(parameter)!.toNumbers(), expected.toNumbers()]
        // A gradient that is zero in exact arithmetic is noise on both sides.
        const error = zero.includes(parameter) ? Math.hypot(...a) / whole : relativeError(a, b)
        return error <= TOLERANCE ? [] : [`${parameter} is off by ${error}`]
      })
      assert.equal(problems, [])
    })
    test(`${name}: ten steps`, async () => {
      const expected = await tenSteps(name, cpuEngine())
      const found = await tenSteps(name, await open())
      for (const [vector, tensor] of expected.state) {
        const error = relativeError(found.state.get(vector)!.toNumbers(), tensor.toNumbers())
        assert.ok(error <= TOLERANCE, `${name}: ${vector} after ten steps is off by ${error}`)
      }
      expected.losses.forEach((loss, i) => {
        const error = Math.abs(found.losses[i]! - loss) / loss
        assert.ok(error <= TOLERANCE, `${name}: loss ${i} is ${found.losses[i]!}, expected ${loss}`)
      })
    })
  }
}

async function gradientsOn(name: string, engine: Engine) {
  const run = await openTraining(name, 'train', PLAIN_SGD, engine)
  try {
    return { ...(await gradientsOf(run)), zero: run.reference.zero_gradients }
  } finally {
    await run.trainer.close()
  }
}

/** Losses and state vectors of ten steps of the reference's SGD; what the optimizer keeps is left out. */
export async function tenSteps(
  name: string,
  engine: Engine,
): Promise<{ losses: number[]; state: Map<string, Tensor> }> {
  const run = await openTraining(name, 'train', undefined, engine)
  try {
    const losses = await stepsOf(run, 10)
    const state = await run.trainer.readState()
    return { losses, state: new Map([...state].filter(([vector]) => vector === 'theta' || vector === 'bn')) }
  } finally {
    await run.trainer.close()
  }
}

/** Losses of the first steps of the reference's SGD. */
export async function stepsOf(run: OpenTraining, count: number): Promise<number[]> {
  const { tensors, reference } = run
  const [inputs, targets] = [tensors.get('steps/input')!, tensors.get('steps/target')!]
  const losses: number[] = []
  for (let i = 0; i < count; i++) {
    const k = i % inputs.dims[0]!
    losses.push(await run.step(row(inputs, k), row(targets, k), [reference.hyperparameters.lr]))
  }
  return losses
}
