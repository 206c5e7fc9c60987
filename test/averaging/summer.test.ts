/** Sums in threads: the same bytes from any number of threads and any kind of source; what is not finite. */

import { writeFile } from 'node:fs/promises'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { tensorDigest } from '../../src/averaging/digest.ts'
import { MemberDigests } from '../../src/averaging/member-digests.ts'
import type { PlannedFile } from '../../src/averaging/plan.ts'
import type { AveragedDType } from '../../src/averaging/rounding.ts'
import { MeanSource, SumSource } from '../../src/averaging/streaming.ts'
import type { Summand } from '../../src/averaging/summand.ts'
import { Summer } from '../../src/averaging/summer.ts'
import { FileSource } from '../../src/tensor/file-source.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { Random } from '../../src/util/random.ts'
import { errorOf } from '../support/errors.ts'
import { withFolder } from './support/folder.ts'

const test = suite('averaging: summer')
/** More than two ranges of float32, and no multiple of anything. */
const COUNT = 1_100_003
const MEMBERS = 19

async function collect(source: MeanSource | SumSource): Promise<Buffer> {
  const pieces: Buffer[] = []
  for await (const piece of source.pieces()) pieces.push(Buffer.from(piece))
  return Buffer.concat(pieces)
}

test('any number of threads, from files and from memory: the same means, sums and hashes', async () => {
  await withFolder(async file => {
    const resident: Tensor[] = []
    const inFiles: Tensor[] = []
    const sources: FileSource[] = []
    for (let k = 0; k < MEMBERS; k++) {
      const random = Random.of(k)
      const values = Float32Array.from({ length: COUNT }, () => random.normal())
      const tensor = Tensor.of('float32', [COUNT], values)
      await writeFile(file(String(k)), Buffer.concat([Buffer.alloc(3), tensor.data as Uint8Array]))
      const source = await FileSource.open(file(String(k)))
      sources.push(source)
      resident.push(tensor)
      inFiles.push(new Tensor('float32', [COUNT], { source, offset: 3, length: tensor.byteLength }))
    }
    const summed = (tensors: readonly Tensor[]) => ({
      ...{ name: 'w', dtype: 'float32' as const, dims: [COUNT] },
      summands: tensors.map((tensor, k): Summand => ({
        kind: 'elements',
        member: `m${k}`,
        tensor,
        weight: 1 + k,
      })),
    })
    const total = (MEMBERS * (MEMBERS + 1)) / 2
    let expected: { mean: Buffer; sums: Buffer } | null = null
    for (const threads of [0, 1, 3]) {
      for (const tensors of [inFiles, resident]) {
        const summer = new Summer({ threads })
        const files = tensors.map((_, k) => ({
          ...{ path: `m${k}`, format: 'safetensors', role: 'member', weight: 1, bytes: 0, modified: 0 },
          members: [{ name: `m${k}`, digest: null, weight: 1, ordinal: k }],
        })) as PlannedFile[]
        // The tensor of the record cannot be read: its hash must have come with the sums.
        const unreadable = (tensor: Tensor, k: number) => ({
          ...{ path: `m${k}`, partial: null },
          tensors: new Map([['w', { dtype: tensor.dtype, dims: tensor.dims, tensor: GONE, fixed: null }]]),
        })
        const digests = new MemberDigests(files, tensors.map(unreadable))
        const mean = await collect(new MeanSource(summed(tensors), total, summer, digests.listen('w')))
        const sums = await collect(new SumSource(summed(tensors), summer))
        const records = await digests.records()
        const alone = new MemberDigests(files.slice(0, 1), [
          {
            ...{ path: 'm0', partial: null },
            tensors: new Map([['w', { dtype: 'float32', dims: [COUNT], tensor: resident[0]!, fixed: null }]]),
          },
        ])
        assert.is(records[0]!.digest, (await alone.records())[0]!.digest)
        assert.is(new Set(records.map(({ digest }) => digest)).size, MEMBERS)
        await summer.close()
        expected ??= { mean, sums }
        assert.ok(mean.equals(expected.mean), `${threads} threads`)
        assert.ok(sums.equals(expected.sums), `${threads} threads`)
      }
    }
    for (const source of sources) await source.close()
    // A mean of float32 with small weights: float64 sums of 19 numbers of one size are exact to the rounding.
    const mean = new Float32Array(expected!.mean.buffer, expected!.mean.byteOffset, COUNT)
    const views = resident.map(tensor => tensor.view() as Float32Array)
    for (let i = 0; i < COUNT; i += 997) {
      const sum = views.reduce((all, view, k) => all + view[i]! * (1 + k), 0)
      assert.ok(Math.abs(mean[i]! - sum / total) <= 2 ** -24 * Math.abs(mean[i]!) + 2 ** -40, String(i))
    }
  })
})

/** A tensor whose elements cannot be read. */
const GONE = new Tensor('float32', [COUNT], {
  offset: 0,
  length: 4 * COUNT,
  source: {
    ...{ name: 'gone', byteLength: 4 * COUNT, close: () => Promise.resolve() },
    read: () => Promise.reject(new Error('read again')),
  },
})

function meanOf(
  dtype: AveragedDType,
  members: readonly (readonly number[])[],
  nonfinite: 'refuse' | 'allow',
) {
  const dims = [members[0]!.length]
  const summands = members.map((values, k): Summand => ({
    kind: 'elements',
    member: `m${k}`,
    tensor: Tensor.of(dtype, dims, values),
    weight: 1,
  }))
  const summer = new Summer({ threads: 0, nonfinite })
  const source = new MeanSource({ name: 'w', dtype, dims, summands }, members.length, summer)
  return source.read(0, source.byteLength).then(bytes => new Tensor(dtype, dims, bytes).toNumbers())
}

test('an infinity that all members have stays; others, and every NaN, are refused or follow IEEE 754', async () => {
  for (const dtype of ['float32', 'float16', 'bfloat16', 'float64'] as const) {
    const masks = [0, 1, 2].map(k => [-Infinity, k, 0, Infinity])
    assert.equal(await meanOf(dtype, masks, 'refuse'), [-Infinity, 1, 0, Infinity], dtype)
    const refused = async (...members: number[][]) => {
      const { message } = await errorOf(meanOf(dtype, members, 'refuse'))
      return message.replace(/^average: (m\d): .* element (\d) at .* found (.*)$/, '$1 $2 $3')
    }
    assert.is(await refused([1, Infinity], [1, 2]), 'm0 1 Infinity')
    assert.is(await refused([1, 2], [1, -Infinity]), 'm1 1 -Infinity')
    assert.is(await refused([1, Infinity], [1, -Infinity]), 'm1 1 -Infinity')
    assert.is(await refused([NaN, 1], [NaN, 1]), 'm0 0 NaN')
    const mixed = [
      [NaN, Infinity, Infinity, 1, 4],
      [1, 2, -Infinity, -Infinity, 6],
    ]
    assert.equal(await meanOf(dtype, mixed, 'allow'), [NaN, Infinity, NaN, -Infinity, 5], dtype)
  }
  // Float64 numbers whose sums would overflow have no mean in any case.
  assert.match((await errorOf(meanOf('float64', [[2 ** 1000]], 'allow'))).message, /element 0/)
})

test('more members than a group, an infinity in all of them', async () => {
  const members = Array.from({ length: 40 }, (_, k) => [k, Infinity])
  assert.equal(await meanOf('float32', members, 'refuse'), [19.5, Infinity])
  members[33]![1] = 3
  assert.match(
    (await errorOf(meanOf('float32', members, 'refuse'))).message,
    /^average: m0: .*found Infinity$/,
  )
})

test('hashes do not depend on how the bytes are held', async () => {
  const tensor = Tensor.of(
    'float32',
    [70_001],
    Array.from({ length: 70_001 }, (_, i) => i),
  )
  await withFolder(async file => {
    await writeFile(file('x'), tensor.data as Uint8Array)
    const source = await FileSource.open(file('x'))
    const ranged = new Tensor('float32', [70_001], { source, offset: 0, length: tensor.byteLength })
    assert.is(await tensorDigest(ranged), await tensorDigest(tensor))
    await source.close()
  })
  const other = Tensor.of('float32', [70_001], (tensor.view() as Float32Array).slice())
  ;(other.data as Uint8Array)[200_000]! ^= 1
  assert.is.not(await tensorDigest(other), await tensorDigest(tensor))
})

test.run()
