/** Gradients of whole models, with running and with batch statistics, against PyTorch's: every folder of fixtures/models. */

import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { softmaxCrossEntropy } from '../../src/autodiff/composites.ts'
import { differentiate, RULES } from '../../src/autodiff/index.ts'
import { COMPOSITE_LOWERINGS, lowerComposites } from '../../src/autodiff/lowering/index.ts'
import { toTrainingBatchNorm } from '../../src/autodiff/training-batch-norm.ts'
import { Builder } from '../../src/ir/builder.ts'
import { Model } from '../../src/ir/graph.ts'
import type { Node } from '../../src/ir/node.ts'
import type { Value } from '../../src/ir/value.ts'
import { namesOf } from '../../src/passes/names.ts'
import { raiseOpset } from '../../src/passes/raise-opset.ts'
import { deserializeModel } from '../../src/serde/index.ts'

import type { Tensor } from '../../src/tensor/tensor.ts'
import { assertClose, relativeError } from '../support/close.ts'
import { observeModel } from '../support/observe.ts'
import { runModel } from '../support/ort.ts'
import { readSafetensors } from '../support/safetensors.ts'

const FOLDER = join(import.meta.dirname, '../../fixtures/models')
const TOLERANCE = 1e-4

interface Reference {
  loss: number
  loss_eval: number
  initializers: Record<string, { kind: string }>
  zero_gradients?: string[]
}

/** The mean cross-entropy of the batch and its gradient by every parameter, in one run. */
async function gradientsOf(
  name: string,
  training: boolean,
  reference: Reference,
  tensors: ReadonlyMap<string, Tensor>,
): Promise<{ loss: number; gradients: Map<string, Tensor> }> {
  const file = readFileSync(join(FOLDER, name, 'model.onnx'))
  const { model } = raiseOpset(await deserializeModel(file, name))
  const { graph } = model
  const feeds = { input: tensors.get('input/input')! }
  if (!training) for (const node of graph.nodes) inferenceForm(node)
  const constant = (value: Value) => reference.initializers[value.name]?.kind === 'constant'
  await observeModel(
    model,
    feeds,
    graph.initializers.filter(value => !constant(value)),
  )

  const op = new Builder(namesOf(graph))
  const nodes = graph.nodes.map(node =>
    training && node.opType === 'BatchNormalization' ? toTrainingBatchNorm(node, op).node : node,
  )
  op.nodes.splice(0, op.nodes.length, ...nodes)
  const logits = graph.outputs[0]!
  const [batch, classes] = logits.shape as [number, number]
  const target = new Array<number>(batch * classes).fill(0)
  tensors
    .get('target')!
    .toNumbers()
    .forEach((label, i) => (target[i * classes + label] = 1 / batch))
  const loss = softmaxCrossEntropy(op, logits, op.floats(logits.shape, target), 1)
  const targets = graph.initializers.filter(value => reference.initializers[value.name]?.kind === 'parameter')
  const found = differentiate(op, op.nodes, loss, targets, {
    rules: RULES,
    opset: model.opset,
    unreached: 'error',
  })
  const results = targets.map(value => op.Identity(found.get(value)!))
  graph.nodes = op.nodes
  graph.initializers.push(...op.initializers)
  graph.outputs = [loss, ...results]
  const program = new Model(lowerComposites(graph, COMPOSITE_LOWERINGS), model.irVersion, model.opsetImports)
  const outputs = await runModel(program, feeds)
  return {
    loss: outputs[loss.name]!.toNumbers()[0]!,
    gradients: new Map(targets.map((value, i) => [value.name, outputs[results[i]!.name]!])),
  }
}

/** BatchNormalization with running statistics, whatever form the file has. */
function inferenceForm(node: Node): void {
  if (node.opType !== 'BatchNormalization') return
  node.outputs.length = 1
  node.attributes.delete('training_mode')
}

const norm = (tensors: readonly Tensor[]) =>
  Math.hypot(...tensors.map(tensor => Math.hypot(...tensor.toNumbers())))

for (const name of readdirSync(FOLDER)) {
  const text = readFileSync(join(FOLDER, name, 'reference.json'), 'utf8')
  const reference = JSON.parse(text) as Reference
  const tensors = readSafetensors(join(FOLDER, name, 'reference.safetensors'))
  const kinds = Object.values(reference.initializers).map(({ kind }) => kind)
  for (const training of [true, false]) {
    test(`${name}, ${training ? 'batch' : 'running'} statistics`, async () => {
      const { loss, gradients } = await gradientsOf(name, training, reference, tensors)
      const expectedLoss = training ? reference.loss : reference.loss_eval
      assertClose([loss], [expectedLoss], { relative: 1e-5 }, `${name}: loss`)
      assert.is(gradients.size, kinds.filter(kind => kind === 'parameter').length)
      const whole = norm([...gradients.values()])
      for (const [parameter, gradient] of gradients) {
        const expected = tensors.get(`${training ? 'grad' : 'grad_eval'}/${parameter}`)!
        // A gradient that is zero in exact arithmetic is noise in float32: it is small beside the whole gradient.
        const zero = training && reference.zero_gradients?.includes(parameter)
        const error = zero
          ? norm([gradient]) / whole
          : relativeError(gradient.toNumbers(), expected.toNumbers())
        assert.ok(error <= TOLERANCE, `${name}: gradient of ${parameter} is off by ${error}`)
      }
    })
  }
}

test.run()
