/** The main writer: the input file byte for byte, but for the weights and metadata that are new. */

import { copyFileSync, existsSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { Model } from '../../src/ir/graph.ts'
import {
  deserializeModel,
  loadModel,
  saveModel,
  serializeModel,
  writePatched,
} from '../../src/serde/index.ts'
import { MemorySource, type ByteSource } from '../../src/tensor/source.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { Random } from '../../src/util/random.ts'
import { errorOf } from '../support/errors.ts'
import { differences } from './support/compare.ts'
import { allModels, FIXTURES, inFolder } from './support/files.ts'
import { randomBytes, weightsOf } from './support/weights.ts'

const NONE = new Map<never, never>()

const initializer = (model: Model, name: string) =>
  model.graph.initializers.find(value => value.name === name)!.tensor!

/** New random bytes for all weights; the same for weights that share their place in a data file. */
function replaceAll(tensors: readonly Tensor[], seed: number): Map<Tensor, ByteSource> {
  const random = Random.of(seed)
  const byPlace = new Map<string, ByteSource>()
  return new Map(
    tensors.map(tensor => {
      const { data } = tensor
      const place = 'source' in data ? `${data.source.name} ${data.offset}` : ''
      const bytes = byPlace.get(place) ?? randomBytes(tensor, random)
      if (place) byPlace.set(place, bytes)
      return [tensor, bytes]
    }),
  )
}

const models = allModels().filter(path => !path.includes('/ops/'))

for (const path of models) {
  const name = path.split('/').slice(-2).join('/')

  test(`${name}: other weights and back again give the same file`, () =>
    inFolder(async folder => {
      const original = readFileSync(path)
      const file = await loadModel(path)
      const isExternal = existsSync(path.replace(/\.onnx$/, '.data'))
      // 1. Nothing replaced: the same bytes.
      const same = join(folder, 'same.onnx')
      await writePatched(file, same, NONE, NONE)
      if (isExternal) {
        const before = { bytes: original, folder: dirname(path) }
        assert.equal(differences(before, { bytes: readFileSync(same), folder }), [])
      } else assert.ok(Buffer.compare(readFileSync(same), original) === 0, 'an unchanged copy')
      // 2. Every weight replaced: the new bytes are read back, all else is as it was.
      const weights = weightsOf(file.model)
      const replacements = replaceAll(weights, 5)
      const other = join(folder, 'other.onnx')
      await writePatched(file, other, replacements, NONE)
      const changed = await loadModel(other)
      const found = weightsOf(changed.model)
      assert.is(found.length, weights.length)
      for (const [i, tensor] of weights.entries()) {
        const wanted = await replacements.get(tensor)!.read(0, tensor.byteLength)
        assert.ok(Buffer.compare(await found[i]!.bytes(), wanted) === 0, `weight ${i}`)
      }
      // 3. The old weights put back.
      const back = new Map<Tensor, ByteSource>()
      const sources = new Map<string, ByteSource>()
      for (const [i, tensor] of weights.entries()) {
        const { data } = tensor
        const place = 'source' in data ? `${data.source.name} ${data.offset}` : String(i)
        const source = sources.get(place) ?? new MemorySource(await tensor.bytes())
        sources.set(place, source)
        back.set(found[i]!, source)
      }
      const again = join(folder, 'same.onnx')
      const expected = readFileSync(same)
      await writePatched(changed, again, back, NONE)
      // Elements spread over several fields, as no writer makes them, come back in one.
      if (path.endsWith('fragments.onnx')) {
        assert.equal(differences({ bytes: readFileSync(again), folder }, { bytes: expected, folder }), [])
      } else assert.ok(Buffer.compare(readFileSync(again), expected) === 0, 'the file as before')
      await file.close()
      await changed.close()
    }))
}

test('raw and fixed-width weights are replaced in place: no other byte of the file changes', () =>
  inFolder(async folder => {
    const path = join(FIXTURES, 'dtypes.onnx')
    const file = await loadModel(path)
    const tensor = initializer(file.model, 'float_large_typed')
    const out = join(folder, 'out.onnx')
    await writePatched(
      file,
      out,
      new Map([[tensor, new MemorySource(new Uint8Array(tensor.byteLength))]]),
      NONE,
    )
    const [before, after] = [readFileSync(path), readFileSync(out)]
    assert.is(after.length, before.length)
    assert.ok('offset' in tensor.data)
    const { offset, length } = tensor.data
    assert.ok(Buffer.compare(after.subarray(0, offset), before.subarray(0, offset)) === 0)
    assert.ok(after.subarray(offset, offset + length).every(byte => byte === 0))
    assert.ok(Buffer.compare(after.subarray(offset + length), before.subarray(offset + length)) === 0)
    await file.close()
  }))

test('float16 weights in int32_data stay there, with lengths corrected all the way up', () =>
  inFolder(async folder => {
    const file = await loadModel(join(FIXTURES, 'external.onnx'))
    const half = initializer(file.model, 'half')
    const zeros = new MemorySource(new Uint8Array(half.byteLength))
    const out = join(folder, 'out.onnx')
    await writePatched(file, out, new Map([[half, zeros]]), NONE)
    const patched = await loadModel(out)
    assert.equal(await initializer(patched.model, 'half').bytes(), new Uint8Array(1800))
    await patched.close()
    await file.close()
  }))

test('metadata: new entries at the end, those of the same key replaced, others kept', () =>
  inFolder(async folder => {
    const file = await loadModel(join(FIXTURES, 'external.onnx'))
    const out = join(folder, 'out.onnx')
    const metadata = new Map([
      ['swa_onnx.version', '0.1.0 ü'],
      ['swa_onnx.members', ''],
    ])
    await writePatched(file, out, NONE, metadata)
    const patched = await loadModel(out)
    assert.equal([...patched.model.metadata], [['kept', 'yes'], ...metadata])
    const twice = join(folder, 'twice.onnx')
    await writePatched(patched, twice, NONE, metadata)
    const text = (path: string) => readFileSync(path).toString('latin1').replaceAll('twice', 'out')
    assert.is(readFileSync(twice).length, readFileSync(out).length + 6, 'only the longer name of its data')
    assert.ok(text(twice).endsWith(text(out).slice(-40)))
    await patched.close()
    await file.close()
  }))

test('weights in a data file: the output has its own, with all of them', () =>
  inFolder(async folder => {
    const path = join(folder, 'external.onnx')
    for (const name of ['external.onnx', 'external.data'])
      copyFileSync(join(FIXTURES, name), join(folder, name))
    const file = await loadModel(path)
    const small = initializer(file.model, 'small')
    const before = readFileSync(join(folder, 'external.data'))
    const out = join(folder, 'out.onnx')
    await writePatched(
      file,
      out,
      new Map([[small, new MemorySource(Buffer.from(Float32Array.of(1, 2, 3).buffer))]]),
      NONE,
    )
    await file.close()
    assert.equal(readdirSync(folder).sort(), ['external.data', 'external.onnx', 'out.onnx', 'out.onnx.data'])
    assert.ok(Buffer.compare(readFileSync(join(folder, 'external.data')), before) === 0)
    const patched = await loadModel(out)
    assert.equal(initializer(patched.model, 'small').toNumbers(), [1, 2, 3])
    const [big, tied] = ['big', 'tied'].map(name => initializer(patched.model, name).data)
    assert.ok('offset' in big! && 'offset' in tied! && big.offset === tied.offset, 'still the same bytes')
    assert.is((await initializer(patched.model, 'big').bytes()).length, 4000)
    await patched.close()
    // Onto itself: model and data are replaced.
    const self = await loadModel(out)
    const nine = new MemorySource(Buffer.from(Float32Array.of(9, 9, 9).buffer))
    await writePatched(self, out, new Map([[initializer(self.model, 'small'), nine]]), NONE)
    await self.close()
    const again = await loadModel(out)
    assert.equal(initializer(again.model, 'small').toNumbers(), [9, 9, 9])
    await again.close()
  }))

test('weights that share bytes must be replaced alike', () =>
  inFolder(async folder => {
    const file = await loadModel(join(FIXTURES, 'external.onnx'))
    const [big, tied] = ['big', 'tied'].map(name => initializer(file.model, name))
    const bytes = (seed: number) => randomBytes(big!, Random.of(seed))
    const out = join(folder, 'out.onnx')
    for (const replacements of [
      [[big!, bytes(1)]],
      [
        [big!, bytes(1)],
        [tied!, bytes(2)],
      ],
    ] as [Tensor, ByteSource][][]) {
      const error = await errorOf(writePatched(file, out, new Map(replacements), NONE))
      assert.match(
        error.message,
        /initializer "big" and initializer "tied" share bytes 0 to 4000 of .*external\.data, and are to become different/,
      )
      assert.ok(error.cure)
    }
    await writePatched(
      file,
      out,
      new Map([
        [big!, bytes(1)],
        [tied!, bytes(1)],
      ]),
      NONE,
    )
    assert.ok(existsSync(out))
    await file.close()
  }))

test('refused: wrong length, strings, a tensor of another model, the data file of the input', () =>
  inFolder(async folder => {
    const file = await loadModel(join(FIXTURES, 'dtypes.onnx'))
    const out = join(folder, 'out.onnx')
    const patch = (tensor: Tensor, length: number) =>
      errorOf(
        writePatched(file, out, new Map([[tensor, new MemorySource(new Uint8Array(length), 'new')]]), NONE),
      )
    const { message } = await patch(initializer(file.model, 'float_small_raw'), 19)
    assert.match(
      message,
      /dtypes\.onnx: initializer "float_small_raw": float32\[5\]: expected 20 bytes, its replacement new has 19/,
    )
    assert.match(
      (await patch(initializer(file.model, 'string_4'), 0)).message,
      /"string_4": string\[2,2\]: strings cannot be replaced/,
    )
    assert.match((await patch(Tensor.scalar('float32', 1), 4)).message, /^internal: .* that is not of/)
    await file.close()
    copyFileSync(join(FIXTURES, 'external.onnx'), join(folder, 'a.onnx'))
    copyFileSync(join(FIXTURES, 'external.data'), join(folder, 'external.data'))
    const input = await loadModel(join(folder, 'a.onnx'))
    const b = join(folder, 'b.onnx')
    await saveModel(input.model, b)
    await input.close()
    // c.onnx uses b.onnx.data, which writing b.onnx anew would overwrite.
    copyFileSync(b, join(folder, 'c.onnx'))
    rmSync(b)
    const user = await loadModel(join(folder, 'c.onnx'))
    const error = await errorOf(writePatched(user, b, NONE, NONE))
    assert.match(error.message, /its data would overwrite .*b\.onnx\.data, which the input model uses/)
    await user.close()
  }))

test('a failure while writing leaves nothing behind', () =>
  inFolder(async folder => {
    const file = await loadModel(join(FIXTURES, 'external.onnx'))
    const half = initializer(file.model, 'half')
    const small = initializer(file.model, 'small')
    for (const tensor of [half, small]) {
      const broken: ByteSource = {
        ...{ name: 'broken', byteLength: tensor.byteLength, close: () => Promise.resolve() },
        read: () => Promise.reject(new Error('the disk is gone')),
      }
      try {
        await writePatched(file, join(folder, 'out.onnx'), new Map([[tensor, broken]]), NONE)
        assert.unreachable()
      } catch (error) {
        assert.is((error as Error).message, 'the disk is gone')
      }
      assert.equal(readdirSync(folder), [])
    }
    await file.close()
  }))

test('sub-graph and function weights are weights', async () => {
  for (const name of ['subgraphs', 'functions']) {
    const file = await loadModel(join(FIXTURES, `${name}.onnx`))
    await inFolder(async folder => {
      const big = weightsOf(file.model).filter(tensor => tensor.size >= 300)
      assert.is(big.length, 1)
      const ones = Tensor.of('float32', big[0]!.dims, new Float32Array(big[0]!.size).fill(1))
      const out = join(folder, 'out.onnx')
      await writePatched(file, out, new Map([[big[0]!, new MemorySource(await ones.bytes())]]), NONE)
      const patched = await deserializeModel(readFileSync(out), basename(out))
      const found = weightsOf(patched).filter(tensor => tensor.size >= 300)
      assert.ok(
        found[0]!.toNumbers().every(value => value === 1),
        name,
      )
      assert.is((await serializeModel(patched)).length, (await serializeModel(file.model)).length)
    })
    await file.close()
  }
})

test.run()
