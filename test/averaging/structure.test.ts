/** Models whose weights are named otherwise average by their places in the graph. */

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { modelWeights, planAverage, runAverage } from '../../src/averaging/index.ts'
import { loadModel, saveModel, writeSafetensors } from '../../src/serde/index.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { errorOf } from '../support/errors.ts'
import { PADDLE, perturb, RESNET } from './support/checkpoints.ts'
import { withFolder } from './support/folder.ts'

const test = suite('averaging: structure')

/** The same model with other names of its weights, listed backwards. */
async function rename(path: string, out: string): Promise<void> {
  const file = await loadModel(path)
  const { graph } = file.model
  for (const [i, value] of graph.initializers.entries()) value.name = `anonymous_${i}`
  graph.initializers.reverse()
  await saveModel(file.model, out)
  await file.close()
}

for (const [name, model] of [
  ['initializers', RESNET],
  ['Constant nodes', PADDLE],
] as const) {
  test(`${name}: the average of renamed models is that of the models, byte for byte`, () =>
    withFolder(async file => {
      const paths = ['a', 'b', 'c'].map(letter => file(`${letter}.onnx`))
      for (const [k, path] of paths.entries()) await perturb(model, path, k)
      await rename(paths[1]!, file('renamed-b.onnx'))
      await rename(paths[2]!, file('renamed-c.onnx'))
      const renamed = [paths[0]!, file('renamed-b.onnx'), file('renamed-c.onnx')]
      await runAverage(await planAverage(paths), file('expected.onnx'))
      const plan = await planAverage(renamed, { match: 'structure' })
      await runAverage(JSON.parse(JSON.stringify(plan)) as typeof plan, file('out.onnx'))
      const [out, expected] = [await loadModel(file('out.onnx')), await loadModel(file('expected.onnx'))]
      const weights = modelWeights(expected.model)
      const found = modelWeights(out.model)
      assert.is(found.length, weights.length)
      for (const [i, { name: weight, tensor }] of weights.entries()) {
        assert.is(found[i]!.name, weight)
        assert.equal(await found[i]!.tensor.bytes(), await tensor.bytes(), weight)
      }
      await out.close()
      await expected.close()
    }))
}

test('other graphs are refused as before; so are files without a graph', () =>
  withFolder(async file => {
    for (const [k, name] of ['a', 'b'].entries()) await perturb(RESNET, file(`${name}.onnx`), k)
    await rename(file('b.onnx'), file('renamed.onnx'))
    assert.match(
      (await errorOf(planAverage([file('a.onnx'), file('renamed.onnx')]))).message,
      /not the same graph/,
    )
    const other = await errorOf(planAverage([file('a.onnx'), PADDLE], { match: 'structure' }))
    assert.match(other.message, /not the same graph/)
    await writeSafetensors(file('w'), [['w', Tensor.of('float32', [1], [1])]])
    const plain = await errorOf(planAverage([file('w')], { match: 'structure' }))
    assert.match(plain.message, /safetensors, which has no graph/)
  }))

test.run()
