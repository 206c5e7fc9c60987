/** A run on a model whose batch norms are calls of a local function ends with the numbers of the model without functions. */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { FunctionDefinition } from '../../src/ir/graph.ts'
import { Node } from '../../src/ir/node.ts'
import { isBatchNorm } from '../../src/passes/index.ts'
import { cpuEngine } from '../../src/runtime/ort-cpu/engine.ts'
import { loadModel, saveModel } from '../../src/serde/index.ts'
import { finetune } from '../../src/train/finetune.ts'
import type { FinetuneOptions } from '../../src/train/options.ts'
import { buildGraph } from '../passes/support/build.ts'
import { writeDigits } from '../support/digits.ts'
import { PLAIN_RUN } from '../support/plain-run.ts'

const MODEL = join(import.meta.dirname, '../../fixtures/demo/digits_cnn.onnx')
const folder = mkdtempSync(join(tmpdir(), 'swa-function-run-'))

const OPTIONS: Omit<FinetuneOptions, 'model' | 'run'> = {
  ...PLAIN_RUN,
  data: writeDigits(join(folder, 'data'), 160),
  dataOptions: { holdOut: 0, seed: 0 },
  epochs: 2,
  settings: {
    ...PLAIN_RUN.settings,
    optimizer: { kind: 'sgd', momentum: 0.9, nesterov: false, weightDecay: 1e-3 },
  },
}

/** The model with every BatchNormalization as a call; weights are the arguments, and keep their names. */
async function withCalls(path: string): Promise<void> {
  const file = await loadModel(MODEL)
  const { model } = file
  const body = {
    inputs: { x: [], s: [], b: [], m: [], v: [] },
    nodes: [['BatchNormalization', ['x', 's', 'b', 'm', 'v'], ['y']] as const],
    outputs: ['y'],
  }
  const definition = new FunctionDefinition('local', 'Norm', '', buildGraph('Norm', body))
  definition.opsetImports = new Map([['', model.opset]])
  definition.extra = { rest: { attribute: [] }, opsets: new Map() }
  model.functions.push(definition)
  model.opsetImports.set('local', 1)
  model.irVersion = Math.max(model.irVersion, 8)
  model.graph.nodes = model.graph.nodes.map(node =>
    isBatchNorm(node)
      ? new Node('Norm', node.inputs, [node.output(0)], { domain: 'local', name: node.name })
      : node,
  )
  await saveModel(model, path)
  await file.close()
}

async function numbersOf(path: string): Promise<Map<string, number[]>> {
  const file = await loadModel(path)
  const numbers = new Map<string, number[]>()
  for (const { name, tensor } of file.model.graph.initializers)
    numbers.set(name, (await tensor!.load()).toNumbers())
  await file.close()
  return numbers
}

test('weights and recalibrated statistics are the same', async () => {
  const calls = join(folder, 'calls.onnx')
  await withCalls(calls)
  const averaged = []
  for (const [name, model] of [
    ['plain', MODEL],
    ['calls', calls],
  ] as const) {
    const run = join(folder, name)
    const result = await finetune(cpuEngine(), { ...OPTIONS, model, run }, { onEvent: () => undefined })
    assert.is(result.recalibrated?.sites, 6, name)
    averaged.push(await numbersOf(join(run, 'averaged.onnx')))
  }
  assert.equal(averaged[1], averaged[0])
})

test.after(() => {
  rmSync(folder, { recursive: true, force: true })
})

test.run()
