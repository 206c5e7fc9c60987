/** What averaging refuses, and how it says so. */

import { existsSync } from 'node:fs'
import { readFile, utimes, writeFile } from 'node:fs/promises'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { openPartial, planAverage, runAverage } from '../../src/averaging/index.ts'
import { openSafetensors, writeSafetensors } from '../../src/serde/index.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { EnvironmentError, InputError, InterruptedError } from '../../src/util/errors.ts'
import { errorOf } from '../support/errors.ts'
import { PADDLE, perturb, RESNET, values, writeCheckpoint } from './support/checkpoints.ts'
import { withFolder } from './support/folder.ts'

const test = suite('averaging: refusals')

test('members that do not belong together are refused', async () => {
  await withFolder(async file => {
    await writeCheckpoint(file('a'), 1)
    const refused = async (change: Record<string, Tensor | null>, seed = 2) => {
      await writeCheckpoint(file('b'), seed, change)
      const error = await errorOf(planAverage([file('a'), file('b')]))
      assert.instance(error, InputError)
      return error.message.replaceAll(`${file('')}/`, '')
    }
    assert.is(
      await refused({ 'layer.weight': Tensor.of('float32', [4, 3], values(1, 12)) }),
      'average: b: tensor "layer.weight": expected float32[3,4] as in a, found float32[4,3]',
    )
    assert.is(
      await refused({ 'layer.weight': null }),
      'average: b: tensor "layer.weight": expected float32[3,4] as in a, found no such tensor',
    )
    assert.is(
      await refused({ more: Tensor.of('int8', [1], [1]) }),
      'average: b: tensor "more": expected no such tensor as in a, found int8[1]',
    )
    assert.is(
      await refused({ ids: Tensor.of('int64', [2], [3n, 5n]) }),
      'average: tensor "ids" int64[2] is not averaged (elements are int64): expected the same in all files, found other values in b than in a',
    )
    assert.match(await refused({}, 1), /^average: b has the same weights as a \(digest [0-9a-f]{12}\.\.\.\)$/)
    assert.match(
      (await errorOf(planAverage([file('a'), RESNET]))).message,
      /resnet18_narrow-ts\/model\.onnx: tensor "bn\.num_batches_tracked": expected int64\[\] as in .*, found no such tensor$/,
    )
    await perturb(RESNET, file('resnet.onnx'), 1)
    const other = await errorOf(planAverage([file('resnet.onnx'), PADDLE]))
    assert.instance(other, InputError)
    const into = await errorOf(planAverage([file('resnet.onnx')], { into: PADDLE }))
    assert.match(into.message, /is not the same graph as/)
    assert.match((await errorOf(planAverage([]))).message, /no file was given/)
    assert.match((await errorOf(planAverage([file('nothing')]))).message, /nothing/)

    // The same integers may be taken from the last member on request.
    await writeCheckpoint(file('b'), 2, { ids: Tensor.of('int64', [2], [3n, 5n]) })
    const plan = await planAverage([file('b'), file('a')], { integers: 'last' })
    const ids = plan.tensors.find(({ name }) => name === 'ids')!
    assert.equal([ids.policy, ids.from, ids.reason], ['last', file('b'), 'elements are int64, not averaged'])
  })
})

test('a member with NaN is refused by name, and the old output stays', async () => {
  await withFolder(async file => {
    await writeCheckpoint(file('a'), 1)
    await writeCheckpoint(file('b'), 2, { 'half.weight': Tensor.of('float16', [5], [1, 2, 3, NaN, 5]) })
    await writeFile(file('out'), 'old')
    const plan = await planAverage([file('a'), file('b')])
    const error = await errorOf(runAverage(plan, file('out')))
    assert.instance(error, InputError)
    assert.is(
      error.message.replaceAll(`${file('')}/`, ''),
      'average: b: tensor "half.weight" float16[5], element 3 at [3]: expected a finite number, found NaN',
    )
    assert.is(await readFile(file('out'), 'utf8'), 'old')
    const partial = await errorOf(runAverage(plan, file('out'), { as: 'partial' }))
    assert.match(partial.message, /expected a finite number, found/)
  })
})

test('a file that changed after planning, an abort, an impossible output', async () => {
  await withFolder(async file => {
    await writeCheckpoint(file('a'), 1)
    await writeCheckpoint(file('b'), 2)
    const plan = await planAverage([file('a'), file('b')])
    const aborted = await errorOf(runAverage(plan, file('out'), { signal: AbortSignal.abort() }))
    assert.instance(aborted, InterruptedError)
    assert.instance(await errorOf(runAverage(plan, file('no/such/out'))), EnvironmentError)
    await utimes(file('b'), 1, 1)
    assert.match(
      (await errorOf(runAverage(plan, file('out')))).message,
      /b has changed since the average was planned/,
    )
    assert.not.ok(existsSync(file('out')))
  })
})

test('damaged partial averages are refused', async () => {
  await withFolder(async file => {
    await writeSafetensors(file('a'), [['w', Tensor.of('float32', [2], [1, 2])]])
    await runAverage(await planAverage([file('a')]), file('good'), { as: 'partial' })
    const good = await openPartial(file('good'))
    assert.equal([...good.sums.keys()], ['w'])
    assert.is(good.fingerprint, null)
    await good.close()
    const raw = await openSafetensors(file('good'))
    const tensors = new Map<string, Tensor>()
    for (const [name, tensor] of raw.tensors) tensors.set(name, await tensor.load())
    const metadata = new Map(raw.metadata)
    await raw.close()
    const refused = async (entries: [string, Tensor][], change: Record<string, string>) => {
      const changed = new Map([...metadata, ...Object.entries(change)])
      await writeSafetensors(file('bad'), [...tensors, ...entries], changed)
      return (await errorOf(openPartial(file('bad')))).message.replaceAll(`${file('')}/`, '')
    }
    const digest = 'a'.repeat(64)
    assert.is(
      await refused([], { 'swa_onnx.partial': '1' }),
      'bad: expected a partial average of format 2, found format 1',
    )
    assert.match(
      await refused([], { 'swa_onnx.members': '[' }),
      /^bad: damaged partial average: the metadata/,
    )
    assert.match(await refused([], { 'swa_onnx.members': '[]' }), /it has no members$/)
    for (const member of [
      { name: 'x', digest, weight: 0, ordinal: 0 },
      { name: 'x', digest: 'a', weight: 1, ordinal: 0 },
      { digest, weight: 1, ordinal: 0 },
      null,
    ]) {
      assert.match(
        await refused([], { 'swa_onnx.members': JSON.stringify([member]) }),
        /^bad: damaged partial average: its member .* is not valid$/,
      )
    }
    assert.match(await refused([], { 'swa_onnx.count': '2' }), /its members count 1, its sums 2$/)
    assert.match(await refused([], { 'swa_onnx.dtypes': '{"w":"int8"}' }), /tensor "w" is said to be int8$/)
    assert.match(
      await refused([], { 'swa_onnx.dtypes': '{"w":"float32","v":"float32"}' }),
      /the sums of tensor "v" are missing$/,
    )
    const tail = (indices: bigint[], numbers: number[]): [string, Tensor][] => [
      ['tail_index/w', Tensor.of('int64', [indices.length], indices)],
      ['tail_value/w', Tensor.of('float64', [numbers.length], numbers)],
    ]
    assert.match(
      await refused(tail([2n], [1]), {}),
      /the tail of tensor "w" does not point to its 2 elements in order$/,
    )
    assert.match(await refused(tail([1n, 0n], [1, 1]), {}), /in order$/)
    assert.match(await refused(tail([1n], [1, 2]), {}), /does not consist of indices and values$/)
    assert.match(await refused([['other', Tensor.of('int8', [1], [1])]], {}), /tensor "other" is unknown$/)
  })
})

test.run()
