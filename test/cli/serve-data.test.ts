/** Weights in a data file that somebody overwrites while they are served: the system must not end the process for it. */

import { mkdtempSync, rmSync, truncateSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { Graph, Model } from '../../src/ir/graph.ts'
import { Node } from '../../src/ir/node.ts'
import { Value } from '../../src/ir/value.ts'
import { saveModel } from '../../src/serde/index.ts'
import { InferenceClient } from '../../src/serve/client/client.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { until } from '../serve/support/running.ts'
import { start } from './support/server.ts'

const folder = mkdtempSync(join(tmpdir(), 'swa-onnx-serve-data-'))
test.after(() => rmSync(folder, { recursive: true, force: true }))

/** 4 MiB, of which every run reads each element. */
const ELEMENTS = 2 ** 20

/** y = x + the largest of 0, 1, 2, ...: ELEMENTS - 1. */
async function writeModel(path: string): Promise<void> {
  const x = Value.typed('x', 'float32', ['N', 1])
  const weights = Tensor.of(
    'float32',
    [1, ELEMENTS],
    Float32Array.from({ length: ELEMENTS }, (_, i) => i),
  )
  const weight = Value.constant('weight', weights)
  const axes = Value.constant('axes', Tensor.of('int64', [1], [1n]))
  const sum = Value.typed('sum', 'float32', ['N', ELEMENTS])
  const y = Value.typed('y', 'float32', ['N', 1])
  const graph = new Graph('largest')
  graph.inputs = [x]
  graph.outputs = [y]
  graph.initializers = [weight, axes]
  graph.nodes = [
    new Node('Add', [x, weight], [sum], { name: 'add' }),
    new Node('ReduceMax', [sum, axes], [y], { name: 'largest' }),
  ]
  const model = new Model(graph, 8, new Map([['', 18]]))
  await saveModel(model, path, { externalData: { location: 'weights.bin', threshold: 1024 } })
}

test('a data file that is cut while it is served changes nothing', async () => {
  const path = join(folder, 'm.onnx')
  await writeModel(path)
  const server = await start(path, '--poll', '0.05', '--max-batch', '1', '--instances', '2')
  const client = new InferenceClient(server.url)
  const ask = async () => {
    const { outputs } = await client.infer('m', {
      x: { datatype: 'FP32', shape: [1, 1], data: Float32Array.of(3) },
    })
    return [...(outputs['y']!.data as Float32Array)]
  }
  assert.equal(await ask(), [ELEMENTS + 2])
  truncateSync(join(folder, 'weights.bin'), 0)
  await until('the cut file was refused', () => server.stderr().includes('could not be loaded'))
  for (let i = 0; i < 4; i++) assert.equal(await ask(), [ELEMENTS + 2])
  const { code, stderr } = await server.end('SIGTERM')
  assert.is(code, 0, stderr)
})

test.run()
