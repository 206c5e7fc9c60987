/** Checkpoints into graphs whose exporters renamed and transposed weights: PyTorch's output for the mean is the judge. */

import { readdirSync } from 'node:fs'
import { basename } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { planAverage, runAverage, type AveragePlan } from '../../src/averaging/index.ts'
import { loadModel, openSafetensors, saveModel, writeSafetensors } from '../../src/serde/index.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { buildModel, floats, randoms } from '../passes/support/build.ts'
import { openModel } from '../support/ort.ts'
import { withFolder } from './support/folder.ts'
import { at, membersOf, refusal } from './support/placing.ts'

const test = suite('averaging: placing')

async function tensorsOf(path: string): Promise<Map<string, Tensor>> {
  const file = await openSafetensors(path)
  try {
    const tensors = new Map<string, Tensor>()
    for (const [name, tensor] of file.tensors) tensors.set(name, await tensor.load())
    return tensors
  } finally {
    await file.close()
  }
}

/** The largest difference of an averaged model from PyTorch's output for the mean of the state dicts. */
async function errorAgainstTorch(path: string, net: string): Promise<number> {
  const reference = await tensorsOf(at(`${net}.safetensors`))
  const file = await loadModel(path)
  const session = await openModel(file.model)
  try {
    const { output } = await session.run({ input: reference.get('input')! })
    const [found, expected] = [output!.toNumbers(), reference.get('output')!.toNumbers()]
    assert.is(found.length, expected.length)
    return Math.max(...found.map((x, i) => Math.abs(x - expected[i]!)))
  } finally {
    await session.close()
    await file.close()
  }
}

/** tensor -> place, how, and T where it is transposed. */
const placesOf = ({ tensors }: AveragePlan) =>
  Object.fromEntries(
    tensors.flatMap(({ name, place = name, placed, transposed }) =>
      placed ? [[name, `${place} ${placed.by}${transposed ? ' T' : ''}`]] : [],
    ),
  )

test("what PyTorch's exporters renamed and transposed is found by content", async () => {
  await withFolder(async file => {
    const linears = ['first', 'left', 'right', 'back', 'last'].map(name => `${name}.weight`)
    for (const [model, names] of [
      [
        'mlp-ts',
        ['onnx::MatMul_33', 'onnx::MatMul_34', 'onnx::MatMul_35', 'onnx::MatMul_36', 'onnx::MatMul_37'],
      ],
      [
        'mlp-exact',
        ['onnx::MatMul_33', 'onnx::MatMul_34', 'onnx::MatMul_35', 'onnx::MatMul_36', 'onnx::MatMul_37'],
      ],
      ['mlp-dynamo', ['val_0', 'val_2', 'val_6', 'val_8', 'val_10']],
    ] as const) {
      const [one, two, three] = membersOf('mlp') as [string, string, string]
      const members = model === 'mlp-exact' ? [two, one, three] : [one, two, three]
      const plan = await planAverage(members, { into: at(`${model}.onnx`) })
      const places = placesOf(plan)
      assert.equal(
        linears.map(name => places[name]),
        names.map(name => `${name} content T`),
        model,
      )
      assert.is(Object.values(places).filter(place => place.endsWith(' name')).length, 7)
      assert.equal(plan.warnings, [])
      const notes = plan.tensors.flatMap(({ placed }) => placed?.note?.replace(/\/.*\//, '') ?? [])
      if (model === 'mlp-exact') assert.equal(new Set(notes), new Set(['the same elements in mlp-2.pt']))
      else assert.match(notes.join('; '), /0\.0\d+ apart in mlp-1\.safetensors, the next one 0\.\d+/)
      // A plan is JSON, and JSON is enough to run it.
      await runAverage(JSON.parse(JSON.stringify(plan)) as AveragePlan, file(`${model}.onnx`))
      const error = await errorAgainstTorch(file(`${model}.onnx`), 'mlp')
      assert.ok(error < 1e-5, `${model}: ${error}`)
    }
    // The temporary files are gone.
    assert.equal(readdirSync(file('')).sort(), ['mlp-dynamo.onnx', 'mlp-exact.onnx', 'mlp-ts.onnx'])
  })
})

test('partial averages and checkpoints of a module inside others find the same places', async () => {
  await withFolder(async file => {
    const into = at('mlp-ts.onnx')
    await runAverage(await planAverage(membersOf('mlp')), file('sums.safetensors'), { as: 'partial' })
    await runAverage(await planAverage([file('sums.safetensors')], { into }), file('sums.onnx'))
    assert.ok((await errorAgainstTorch(file('sums.onnx'), 'mlp')) < 1e-5)
    await runAverage(await planAverage(membersOf('mlp')), file('mean.safetensors'))
    const wrapped = [...(await tensorsOf(file('mean.safetensors')))].map(
      ([name, tensor]) => [`backbone.encoder.${name}`, tensor] as const,
    )
    await writeSafetensors(file('wrapped.safetensors'), wrapped)
    const plan = await planAverage([file('wrapped.safetensors')], { into })
    const bias = plan.tensors.find(({ name }) => name === 'backbone.encoder.last.bias')!
    assert.equal(
      [bias.place, bias.placed],
      ['last.bias', { by: 'prefix', note: 'backbone.encoder. removed' }],
    )
    await runAverage(plan, file('wrapped.onnx'))
    assert.ok((await errorAgainstTorch(file('wrapped.onnx'), 'mlp')) < 1e-5)
  })
})

test('batch norms that were kept receive the average; those that were folded are explained', async () => {
  await withFolder(async file => {
    const plan = await planAverage(membersOf('conv'), { into: at('conv-kept.onnx') })
    // Gemm has the matrix as PyTorch has it.
    assert.is(placesOf(plan)['head.weight'], 'head.weight name')
    await runAverage(plan, file('kept.onnx'))
    assert.ok((await errorAgainstTorch(file('kept.onnx'), 'conv')) < 1e-5)
    assert.is(
      await refusal(membersOf('conv'), { into: at('conv-folded.onnx') }),
      'average: conv-folded.onnx was exported with its batch norms folded into other layers and has no place for "bn1.running_mean" of conv-1.safetensors: expected 2 batch norms, found 0 | export it with its batch norms: torch.onnx.export with training=TrainingMode.PRESERVE or do_constant_folding=False, with dynamo=True optimize=False; leave batch norms that the model does not use out with --ignore',
    )
  })
})

test('values that tell nothing are no ground for a place: --map says it', async () => {
  await withFolder(async file => {
    const into = at('mlp-strange.onnx')
    assert.is(
      await refusal(membersOf('mlp'), { into }),
      'average: tensor "back.weight" float32[12,16] of mlp-1.safetensors has no place of that name in mlp-strange.onnx; its shape fits "onnx::MatMul_36" (transposed, 0.97 apart), "onnx::MatMul_33" (1.0 apart), and the values do not tell which one it is; nor have "first.weight", "left.weight", "right.weight" | say it: --map back.weight=PLACE',
    )
    const some = {
      into,
      map: [
        ['back.weight', 'onnx::MatMul_36'],
        ['first.weight', 'onnx::MatMul_33'],
      ] as const,
    }
    assert.match(
      await refusal(membersOf('mlp'), some),
      /^average: tensor "left\.weight" .* \| say it: --map left\.weight=PLACE, or --map left\.weight\.T=PLACE for its transpose$/,
    )
    const plan = await planAverage(membersOf('mlp'), {
      ...some,
      map: [...some.map, ['left.weight.T', 'onnx::MatMul_34'], ['right.weight.T', 'onnx::MatMul_35']],
    })
    assert.is(placesOf(plan)['left.weight'], 'onnx::MatMul_34 map T')
    assert.is(placesOf(plan)['last.weight'], 'onnx::MatMul_37 shape T')
    assert.equal(plan.warnings, [
      'placed by shape alone: "last.weight" is "onnx::MatMul_37"; if that is wrong, say it with --map NAME=PLACE',
    ])
    await runAverage(plan, file('out.onnx'))
    assert.ok((await errorAgainstTorch(file('out.onnx'), 'mlp')) < 1e-5)
  })
})

/** A chain of matrices. */
const matrixModel = (weights: Record<string, Tensor>, dims: readonly number[]) => {
  const names = Object.keys(weights)
  return buildModel({
    inputs: { x: [1, dims[0]!] },
    weights,
    nodes: names.map((name, i) => ['MatMul', [i === 0 ? 'x' : `y${i - 1}`, name], [`y${i}`]]),
    outputs: [`y${names.length - 1}`],
  })
}

test('tied weights: in the checkpoint twice, or in the model twice', async () => {
  await withFolder(async file => {
    const table = randoms([6, 4], 1)
    const flat = table.toNumbers()
    const turned = floats(
      [4, 6],
      Array.from({ length: 24 }, (_, k) => flat[(k % 6) * 4 + Math.floor(k / 6)]!),
    )
    await saveModel(matrixModel({ 'onnx::MatMul_7': turned, 'words.weight': table }, [4]), file('twice.onnx'))
    await saveModel(matrixModel({ 'words.weight': table }, [6]), file('once.onnx'))
    const moved = (by: number) =>
      floats(
        [6, 4],
        flat.map(x => x + by),
      )
    for (const k of [1, 2]) {
      await writeSafetensors(file(`one-${k}`), [['words.weight', moved(k)]])
      await writeSafetensors(file(`both-${k}`), [
        ['words.weight', moved(k)],
        ['head.weight', moved(k)],
      ])
    }
    const twice = await planAverage([file('one-1'), file('one-2')], { into: file('twice.onnx') })
    assert.equal(
      twice.tensors.map(({ name, place, transposed, placed }) => [name, place, transposed, placed]),
      [
        ['words.weight', undefined, undefined, { by: 'name' }],
        [
          ...['words.weight', 'onnx::MatMul_7', true],
          { by: 'content', note: 'the same elements as "words.weight" there' },
        ],
      ],
    )
    await runAverage(twice, file('out.onnx'))
    const out = await loadModel(file('out.onnx'))
    const [first, second] = await Promise.all(
      out.model.graph.initializers.map(({ tensor }) => tensor!.load()),
    )
    await out.close()
    const mean = flat.map(x => Math.fround((Math.fround(x + 1) + Math.fround(x + 2)) / 2))
    assert.equal(second!.toNumbers(), mean)
    assert.equal(
      first!.toNumbers(),
      Array.from({ length: 24 }, (_, k) => mean[(k % 6) * 4 + Math.floor(k / 6)]!),
    )

    const once = await planAverage([file('both-1'), file('both-2')], { into: file('once.onnx') })
    assert.equal(
      once.tensors.map(({ name, policy, reason }) => [name, policy, reason]),
      [
        ['head.weight', 'drop', 'tied to "words.weight", which has the same elements in all files'],
        ['words.weight', 'average', 'float32 weights'],
      ],
    )
  })
})

test('joined projections, other element types, merged tensors and shapes that are not there are explained', async () => {
  await withFolder(async file => {
    await saveModel(matrixModel({ 'onnx::MatMul_5': randoms([4, 12]) }, [4]), file('joined.onnx'))
    const { graph } = matrixModel(
      { 'fc.weight': Tensor.of('float16', [4, 3], Array<number>(12).fill(1)) },
      [4],
    )
    const half = buildModel({ inputs: {}, nodes: [], outputs: [] })
    half.graph = graph
    await saveModel(half, file('half.onnx'))
    const merged = buildModel({
      inputs: { x: [1, 4] },
      weights: { 'bn.bias': floats([4], [0, 0, 0, 0]) },
      nodes: [
        ['Identity', ['bn.bias'], ['bn.shift']],
        ['Add', ['x', 'bn.shift'], ['a']],
        ['Add', ['a', 'bn.bias'], ['y']],
      ],
      outputs: ['y'],
    })
    await saveModel(merged, file('merged.onnx'))
    const refused = async (model: string, entries: [string, Tensor][]) => {
      await writeSafetensors(file('a'), entries)
      return refusal([file('a')], { into: file(model) })
    }
    assert.is(
      await refused('joined.onnx', [['q.weight', randoms([4, 4])]]),
      'average: tensor "q.weight" float32[4,4] of a has no place of that name in joined.onnx; "onnx::MatMul_5" [4,12] may hold it joined with others (such as query, key and value), which is not taken apart | export the model from the code that the checkpoint comes from, without joining weights',
    )
    assert.is(
      await refused('joined.onnx', [['qkv.weight', randoms([36, 4])]]),
      'average: tensor "qkv.weight" float32[36,4] of a has no place of that name in joined.onnx; "onnx::MatMul_5" [4,12] may be a part of it (such as query, key or value), which is not taken apart | export the model from the code that the checkpoint comes from, without splitting weights',
    )
    assert.is(
      await refused('half.onnx', [['fc.weight', randoms([4, 3])]]),
      'average: tensor "fc.weight": expected float16[4,3] as in half.onnx, found float32[4,3] in a | element types must be equal: export the model with float32 weights, or convert the checkpoints to float16',
    )
    assert.is(
      await refused('half.onnx', [['lin.weights', randoms([3, 4])]]),
      'average: tensor "lin.weights" float32[3,4] of a has no place of that name in half.onnx; of its shape there is float16[4,3] "fc.weight" | element types must be equal: export the model with float32 weights, or convert the checkpoints to float16',
    )
    assert.is(
      await refused('merged.onnx', [
        ['bn.bias', floats([4], [1, 2, 3, 4])],
        ['bn.shift', floats([4], [5, 6, 7, 8])],
      ]),
      'average: tensor "bn.shift" float32[4] of a has no place of that name in merged.onnx; it is there the same as "bn.bias", to which it was equal when the model was exported | export the model from one of the checkpoints, in which they differ',
    )
    assert.is(
      await refused('joined.onnx', [['../\n"x"', Tensor.of('int64', [2], [1n, 2n])]]),
      'average: tensor "../\n"x"" int64[2] of a has no place of that name in joined.onnx; of its type and shape there is none | export the model with do_constant_folding=False, with dynamo=True optimize=False, so that the tensor stays as it is, or leave it out with --ignore "../\n"x"" if the model does not use it',
    )
  })
})

test('a matrix of the right name and of the transposed shape', async () => {
  await withFolder(async file => {
    const given = randoms([5, 4])
    await writeSafetensors(file('a'), [['fc.weight', given]])
    await saveModel(matrixModel({ 'fc.weight': randoms([4, 5], 7) }, [4]), file('model.onnx'))
    const plan = await planAverage([file('a')], { into: file('model.onnx') })
    assert.is(placesOf(plan)['fc.weight'], 'fc.weight name T')
    await runAverage(plan, file('out.onnx'))
    const out = await loadModel(file('out.onnx'))
    const found = (await out.model.graph.initializers[0]!.tensor!.load()).toNumbers()
    await out.close()
    const numbers = given.toNumbers()
    assert.equal(
      found,
      Array.from({ length: 20 }, (_, k) => numbers[(k % 5) * 4 + Math.floor(k / 5)]!),
    )
  })
})

test('a square matrix of the right name that the exporter transposed in place lies as the values say', async () => {
  await withFolder(async file => {
    const given = randoms([4, 4], 3)
    const numbers = given.toNumbers()
    const turned = floats(
      [4, 4],
      Array.from({ length: 16 }, (_, k) => numbers[(k % 4) * 4 + Math.floor(k / 4)]!),
    )
    await writeSafetensors(file('a'), [['fc.weight', given]])
    for (const [name, values, expected] of [
      ['turned', turned, 'fc.weight content T'],
      ['same', given, 'fc.weight name'],
      // Without a word from the values the name counts.
      ['strange', randoms([4, 4], 9), 'fc.weight name'],
    ] as const) {
      await saveModel(matrixModel({ 'fc.weight': values }, [4]), file(`${name}.onnx`))
      const plan = await planAverage([file('a')], { into: file(`${name}.onnx`) })
      assert.is(placesOf(plan)['fc.weight'], expected, basename(name))
    }
  })
})

test.run()
