/** Averaging files: what is written, what is kept, what is refused. */

import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { basename } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import {
  describeModel,
  matchGraphs,
  mergePartials,
  modelWeights,
  planAverage,
  runAverage,
  type AverageProgress,
} from '../../src/averaging/index.ts'
import { isAveraged } from '../../src/averaging/rounding.ts'
import { loadModel, openSafetensors, saveModel, writeSafetensors } from '../../src/serde/index.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { UsageError } from '../../src/util/errors.ts'
import { errorOf } from '../support/errors.ts'
import { PADDLE, perturb, RESNET, writeCheckpoint, type Values } from './support/checkpoints.ts'
import { withFolder } from './support/folder.ts'

const test = suite('averaging: files')

async function checkAveraged(out: string, model: string, members: readonly Values[]): Promise<void> {
  const [file, original] = [await loadModel(out), await loadModel(model)]
  try {
    const names = modelWeights(original.model)
    for (const [i, { name, tensor, fixed }] of modelWeights(file.model).entries()) {
      assert.is(name, names[i]!.name)
      const found = await tensor.load()
      if (fixed === null) {
        // Float64 holds the sums of so few float32 values of similar size exactly.
        const sums = Array.from(found.toNumbers(), (_, k) =>
          members.reduce((sum, values) => sum + values.get(name)![k]!, 0),
        )
        assert.equal(
          found.toNumbers(),
          sums.map(sum => Math.fround(sum / members.length)),
          name,
        )
      } else assert.equal(await tensor.bytes(), await names[i]!.tensor.bytes(), name)
    }
    matchGraphs(
      { path: model, facts: await describeModel(original.model) },
      { path: out, facts: await describeModel(file.model) },
    )
    assert.is(file.model.irVersion, original.model.irVersion)
  } finally {
    await file.close()
    await original.close()
  }
}

test("ONNX models: the means, in the first model's own graph, with a record of the members", async () => {
  await withFolder(async file => {
    for (const [model, constants] of [
      [RESNET, false],
      [PADDLE, true],
    ] as const) {
      const paths = ['a.onnx', 'b.onnx', 'c.onnx'].map(file)
      const members = []
      for (const [k, path] of paths.entries()) members.push(await perturb(model, path, k))
      const plan = await planAverage(paths)
      // The plan is JSON, and JSON is enough to run it.
      const progress: AverageProgress[] = []
      const report = await runAverage(JSON.parse(JSON.stringify(plan)) as typeof plan, file('out.onnx'), {
        onProgress: step => progress.push(step),
      })
      const averaged = plan.tensors.filter(({ policy }) => policy === 'average')
      const { records, written, ...counts } = report
      const bytes = await readFile(file('out.onnx'))
      const sha256 = createHash('sha256').update(bytes).digest('hex')
      assert.equal(written, [{ path: file('out.onnx'), bytes: bytes.byteLength, sha256 }])
      assert.equal(
        records.map(({ name, weight }) => [name, weight]),
        paths.map(path => [basename(path), 1]),
      )
      assert.equal(counts, {
        path: file('out.onnx'),
        output: 'onnx',
        members: 3,
        tensors: averaged.length,
        elements: averaged.reduce((sum, { dims }) => sum + dims.reduce((a, b) => a * b, 1), 0),
      })
      assert.ok(averaged.length >= 60, `${averaged.length} tensors`)
      assert.is(progress.at(-1)!.done, progress.at(-1)!.total)
      await checkAveraged(file('out.onnx'), model, members)
      const out = await loadModel(file('out.onnx'))
      try {
        const { metadata, graph } = out.model
        assert.is(metadata.get('swa_onnx.method'), 'mean')
        assert.is(metadata.get('swa_onnx.count'), '3')
        assert.is(metadata.get('origin'), 'copy 0')
        assert.match(metadata.get('swa_onnx.version')!, /^\d+\.\d+\.\d+/)
        const list = JSON.parse(metadata.get('swa_onnx.members')!) as { name: string; digest: string }[]
        assert.equal(list.map(({ name }) => name).sort(), ['a.onnx', 'b.onnx', 'c.onnx'])
        assert.is(
          graph.nodes.some(node => node.opType === 'Constant' && node.tensor('value')!.size > 100),
          constants,
        )
      } finally {
        await out.close()
      }
    }
  })
})

test('any order, and partials of any grouping, give the same file', async () => {
  await withFolder(async file => {
    const paths = ['a.onnx', 'b.onnx', 'c.onnx', 'd.onnx'].map(file)
    for (const [k, path] of paths.entries()) await perturb(RESNET, path, k)
    const average = async (members: string[], out: string, as: 'result' | 'partial' = 'result') => {
      const plan = await planAverage(members, as === 'result' ? { into: RESNET } : {})
      await runAverage(plan, file(out), { as })
      return readFile(file(out))
    }
    const [a, b, c, d] = paths as [string, string, string, string]
    const expected = await average([a, b, c, d], 'all')
    assert.ok(expected.equals(await average([d, b, a, c], 'shuffled')), 'shuffled')
    const whole = await average([a, b, c, d], 'whole', 'partial')
    await average([c, a], 'ca', 'partial')
    await average([d], 'd', 'partial')
    await mergePartials([file('ca'), file('d')], file('cad'))
    await average([b], 'b', 'partial')
    await mergePartials([file('b'), file('cad')], file('bcad'))
    assert.ok(whole.equals(await readFile(file('bcad'))), 'merged partials')
    assert.ok(expected.equals(await average([file('bcad')], 'folded')), 'folded')
    assert.ok(expected.equals(await average([file('cad'), b], 'mixed')), 'a partial and a model')
  })
})

test('safetensors: each tensor in its own dtype and by its own policy', async () => {
  await withFolder(async file => {
    const paths = ['1', '2', '3'].map(name => file(`${name}.safetensors`))
    const members = await Promise.all(paths.map((path, k) => writeCheckpoint(path, k + 1)))
    const plan = await planAverage(paths)
    assert.equal(Object.fromEntries(plan.tensors.map(({ name, policy }) => [name, policy])), {
      'layer.weight': 'average',
      'half.weight': 'average',
      'brain.weight': 'average',
      'double.weight': 'average',
      mask: 'average',
      ids: 'equal',
      'bn.num_batches_tracked': 'last',
    })
    await runAverage(plan, file('out.safetensors'))
    const out = await openSafetensors(file('out.safetensors'))
    try {
      assert.is(out.metadata.get('format'), 'pt')
      for (const [name, tensor] of out.tensors) {
        const given = members.map(member => member.get(name)!)
        assert.is(tensor.dtype, given[0]!.dtype)
        assert.equal(tensor.dims, given[0]!.dims)
        const found = (await tensor.load()).toNumbers()
        if (!isAveraged(tensor.dtype) || name === 'mask') assert.equal(found, given[2]!.toNumbers(), name)
        else {
          const numbers = given.map(member => member.toNumbers())
          const means = found.map((_, i) => numbers.reduce((sum, list) => sum + list[i]!, 0) / 3)
          // 64-bit sums are rounded here, so float64 agrees to the last bit but one; the others exactly.
          if (tensor.dtype === 'float64') {
            found.forEach((x, i) => assert.ok(Math.abs(x - means[i]!) <= 2 ** -52 * Math.abs(x), name))
          } else assert.equal(found, Tensor.of(tensor.dtype, tensor.dims, means).toNumbers(), name)
        }
      }
    } finally {
      await out.close()
    }
  })
})

test('weights in any ratio', async () => {
  await withFolder(async file => {
    const make = (name: string, x: number) =>
      writeSafetensors(file(name), [['w', Tensor.of('float32', [], [x])]])
    await make('a', 1)
    await make('b', 11)
    const plan = await planAverage([file('a'), file('b')], { weights: [0.3, 0.7] })
    assert.equal([plan.title, plan.count], ['weighted mean', 10])
    await runAverage(plan, file('out'))
    const out = await openSafetensors(file('out'))
    assert.equal((await out.tensors.get('w')!.load()).toNumbers(), [8])
    const members = JSON.parse(out.metadata.get('swa_onnx.members')!) as { name: string; weight: number }[]
    assert.equal(Object.fromEntries(members.map(({ name, weight }) => [name, weight])), { a: 3, b: 7 })
    await out.close()
    const equal = await planAverage([file('a'), file('b')], { weights: [0.5, 0.5] })
    assert.equal([equal.title, equal.count], ['mean', 2])
    const errors: [number[], string][] = [
      [[1], 'average: expected 2 weights, found 1'],
      [[1, 0], 'average: a weight should be a positive number, found 0'],
      [[1, NaN], 'average: a weight should be a positive number, found NaN'],
    ]
    for (const [weights, message] of errors) {
      const error = await errorOf(planAverage([file('a'), file('b')], { weights }))
      assert.instance(error, UsageError)
      assert.is(error.message, message)
    }
    const fine = await errorOf(planAverage([file('a'), file('b')], { weights: [1 / 3, 2 / 7] }))
    assert.match(fine.message, /sum up to \d+, expected at most 2\^28$/)
  })
})

test('a snapshot and a partial average fold into a model by name', async () => {
  await withFolder(async file => {
    const model = await loadModel(RESNET)
    const tensors = new Map<string, Tensor>()
    for (const { name, tensor } of modelWeights(model.model)) {
      if (name.startsWith('layer')) {
        tensors.set(
          name,
          Tensor.of(
            'float32',
            tensor.dims,
            (await tensor.load()).toNumbers().map(x => x + 1),
          ),
        )
      }
    }
    await model.close()
    const counter = Tensor.of('int64', [], [7n])
    await writeSafetensors(file('snapshot'), [...tensors, ['bn1.num_batches_tracked', counter]])
    const plan = await planAverage([file('snapshot')], { into: RESNET })
    const policies = new Map(plan.tensors.map(({ name, policy }) => [name, policy]))
    assert.is(policies.get('bn1.num_batches_tracked'), 'drop')
    assert.is(policies.get('conv1.weight'), 'keep')
    assert.is(policies.get([...tensors.keys()][0]!), 'average')
    await runAverage(plan, file('out.onnx'))
    const [out, original] = [await loadModel(file('out.onnx')), await loadModel(RESNET)]
    try {
      const originals = modelWeights(original.model)
      for (const [i, { name, tensor }] of modelWeights(out.model).entries()) {
        assert.equal(await tensor.bytes(), await (tensors.get(name) ?? originals[i]!.tensor).bytes(), name)
      }
    } finally {
      await out.close()
      await original.close()
    }

    await writeSafetensors(file('renamed'), [
      ['backbone.bn1.weight', Tensor.of('float32', [4], [1, 1, 1, 1])],
    ])
    const missing = await errorOf(planAverage([file('renamed')], { into: RESNET }))
    assert.match(
      missing.message,
      /tensor "backbone\.bn1\.weight" has several places in .*: "bn1\.weight", "layer1\.0\.bn1\.weight", /,
    )
    await writeSafetensors(file('reshaped'), [['bn1.weight', Tensor.of('float32', [2, 2], [1, 1, 1, 1])]])
    const reshaped = await errorOf(planAverage([file('reshaped')], { into: RESNET }))
    assert.match(
      reshaped.message,
      /tensor "bn1\.weight": expected float32\[4\] as in .*, found float32\[2,2\] in/,
    )
    const noModel = await errorOf(planAverage([file('snapshot')], { into: file('snapshot') }))
    assert.match(noModel.message, /should be an ONNX model to receive the average$/)
  })
})

test('weights in external data are averaged into new external data', async () => {
  await withFolder(async file => {
    const members: Values[] = []
    for (const k of [0, 1, 2]) {
      members.push(await perturb(RESNET, file(`inline-${k}.onnx`), k))
      const inline = await loadModel(file(`inline-${k}.onnx`))
      const location = `outside-${k}.weights`
      await saveModel(inline.model, file(`outside-${k}.onnx`), { externalData: { location, threshold: 1 } })
      await inline.close()
    }
    const plan = await planAverage([0, 1, 2].map(k => file(`outside-${k}.onnx`)))
    await runAverage(plan, file('out.onnx'))
    await checkAveraged(file('out.onnx'), RESNET, members)
  })
})

test.run()
