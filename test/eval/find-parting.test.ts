/** The search names the very node that was made wrong, at the beginning, in the middle and at the end of whole models. */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { findParting, type Parting } from '../../src/eval/find-parting.ts'
import type { Model } from '../../src/ir/graph.ts'
import type { Feeds } from '../../src/runtime/engine.ts'
import { cpuEngine } from '../../src/runtime/ort-cpu/engine.ts'
import { deserializeModel } from '../../src/serde/index.ts'
import { toInferenceForm } from '../../src/passes/index.ts'
import { MODELS } from '../support/training.ts'
import { readSafetensors } from '../support/safetensors.ts'
import { wrongEngine, type Wrongness } from '../support/wrong-engine.ts'

async function open(name: string): Promise<{ model: Model; feeds: Feeds }> {
  const file = await deserializeModel(readFileSync(join(MODELS, name, 'model.onnx')), name)
  const input = readSafetensors(join(MODELS, name, 'reference.safetensors')).get('input/input')!
  return { model: toInferenceForm(file).model, feeds: new Map([[file.graph.feeds[0]!.name, input]]) }
}

const session = { threads: 1 }

function search(
  { model, feeds }: { model: Model; feeds: Feeds },
  wrongness: Wrongness,
  budgetBytes?: number,
): Promise<Parting | null> {
  const settings = { tolerance: () => 1e-3, session, ...(budgetBytes === undefined ? {} : { budgetBytes }) }
  return findParting([cpuEngine(), wrongEngine(wrongness)], model, feeds, settings)
}

/** The first output of the nodes of some operators. */
const outputsOf = ({ graph }: Model, ...operators: string[]) =>
  graph.nodes.filter(({ opType }) => operators.includes(opType)).map(node => node.output(0).name)

for (const name of ['resnet18_narrow-ts', 'resnet18_narrow-dynamo']) {
  test(`${name}: a wrong node is named wherever it is`, async () => {
    const opened = await open(name)
    const convolutions = outputsOf(opened.model, 'Conv')
    const all = [convolutions[0]!, outputsOf(opened.model, 'Add')[3]!, outputsOf(opened.model, 'Gemm')[0]!]
    for (const output of all) {
      const found = await search(opened, { output, by: 'Mul', amount: 1.05 })
      assert.equal([found?.output.name, found?.cause], [output, 'node'])
      if (!found) continue
      const node = opened.model.graph.nodes[found.position]!
      assert.is(node.output(0).name, output)
      assert.is(found.node, node.label)
      // 1.05 x is off by 0.05 of its scale, alone as in the graph.
      assert.ok(
        Math.abs(found.output.difference.relative - 0.05) < 1e-3,
        String(found.output.difference.relative),
      )
      assert.ok(Math.abs(found.alone! - 0.05) < 1e-3, String(found.alone))
      const { reference, value } = found.output.difference.worst!
      assert.ok(Math.abs(value - 1.05 * reference) < 1e-4 * Math.abs(reference), `${value} of ${reference}`)
      assert.ok(found.inputs.every(({ difference }) => difference.relative < 1e-3))
    }
  })
}

test('not a number on one engine only is found where it begins', async () => {
  const opened = await open('resnet18_narrow-ts')
  const output = outputsOf(opened.model, 'Conv')[4]!
  const found = await search(opened, { output, by: 'Add', amount: NaN })
  assert.equal([found?.output.name, found?.cause], [output, 'node'])
  const { difference, dims } = found!.output
  assert.is(
    difference.mismatched,
    dims.reduce((a, b) => a * b),
  )
  assert.ok(Number.isNaN(difference.worst?.value))
  assert.is(difference.relative, Infinity)
})

test('little memory makes no difference', async () => {
  const opened = await open('bn_cnn-ts13')
  const output = outputsOf(opened.model, 'Conv').at(-1)!
  const found = await search(opened, { output, by: 'Mul', amount: 0.9 }, 1)
  assert.equal([found?.output.name, found?.cause], [output, 'node'])
})

for (const which of [0, 1]) {
  test(`an error that goes when the value before it is asked for is a fusion: convolution ${which}`, async () => {
    const opened = await open('bn_cnn-ts')
    const convolution = opened.model.graph.nodes.filter(({ opType }) => opType === 'Conv')[which]!
    const output = convolution.output(0).name
    const found = await search(opened, { output, by: 'Mul', amount: 1.5, hidden: true })
    const reader = opened.model.graph.nodes.find(node => node.inputs.includes(convolution.output(0)))!
    assert.equal([found?.node, found?.cause], [reader.label, 'fusion'])
  })
}

test('engines that agree have no such node', async () => {
  const opened = await open('mlp-ts')
  const found = await search(opened, { output: 'there is none', by: 'Add', amount: 1 })
  assert.is(found, null)
})

test.run()
