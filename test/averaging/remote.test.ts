/** Checkpoints on a web server: averages are byte for byte those of the same files on disk, and tell no secrets. */

import { mkdirSync, readFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import {
  listCheckpoints,
  openCheckpoint,
  planAverage,
  runAverage,
  type AverageOptions,
} from '../../src/averaging/index.ts'
import { loadModel, saveModel, writeSafetensors } from '../../src/serde/index.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { errorOf } from '../support/errors.ts'
import { startServer } from '../remote/support/server.ts'
import { perturb, RESNET, writeCheckpoint } from './support/checkpoints.ts'
import { withFolder } from './support/folder.ts'

const test = suite('averaging: remote checkpoints')
const server = await startServer()
test.after(() => server.close())

const FIXTURES = join(import.meta.dirname, '../../fixtures/averaging/torch')

/** Puts a local file on the server, in a folder of its own; gives its URL. */
function put(path: string, name = basename(path)): string {
  server.files.set(`/store/${name}`, readFileSync(path))
  return `${server.origin}/store/${encodeURIComponent(name)}?token=secret`
}

async function average(paths: readonly string[], out: string, options: AverageOptions = {}, partial = false) {
  await runAverage(await planAverage(paths, options), out, { as: partial ? 'partial' : 'result' })
  return readFileSync(out)
}

/** Averages files on disk and on the server; the results must be equal and hold no secret. */
async function same(
  file: (name: string) => string,
  paths: readonly string[],
  ending: string,
  options: AverageOptions = {},
  partial = false,
): Promise<void> {
  const local = await average(paths, file(`local${ending}`), options, partial)
  const into = options.into === undefined ? {} : { into: put(options.into) }
  const urls = paths.map(path => put(path))
  const remote = await average(urls, file(`remote${ending}`), { ...options, ...into }, partial)
  assert.ok(local.equals(remote), `${local.length} and ${remote.length} bytes`)
  assert.not.ok(remote.includes('secret') || remote.includes('127.0.0.1'))
}

test('safetensors, PyTorch and NumPy', () =>
  withFolder(async file => {
    await writeCheckpoint(file('step-1.safetensors'), 1)
    await writeCheckpoint(file('step-2.safetensors'), 2)
    await same(file, [file('step-1.safetensors'), file('step-2.safetensors')], '.a.safetensors')
    // Told by what they hold.
    await writeCheckpoint(file('unnamed-3'), 3)
    await same(file, [file('unnamed-3'), file('step-2.safetensors')], '.b.safetensors')
    const [one, two] = [join(FIXTURES, 'plain-1.pt'), join(FIXTURES, 'plain-2.pt')]
    await same(file, [one, two], '.c.safetensors', { weights: [1, 3] })
    for (const name of ['plain-1.npz', 'packed-1.npz'])
      await same(file, [join(FIXTURES, name)], `.${name}.safetensors`)
  }))

test('ONNX models, snapshots into a model, partial averages', () =>
  withFolder(async file => {
    const paths = [1, 2].map(i => file(`epoch-${i}.onnx`))
    for (const [i, path] of paths.entries()) await perturb(RESNET, path, i)
    await same(file, paths, '.onnx')
    await same(file, [paths[0]!], '-a.safetensors', {}, true)
    await same(file, [paths[1]!], '-b.safetensors', {}, true)
    await same(file, [file('local-a.safetensors'), file('local-b.safetensors')], '-c.onnx', { into: RESNET })
  }))

test('a model with its weights in a data file', () =>
  withFolder(async file => {
    const paths: string[] = []
    for (const i of [1, 2]) {
      mkdirSync(file(`m${i}`))
      await perturb(RESNET, file('inline.onnx'), i)
      const model = await loadModel(file('inline.onnx'))
      paths.push(file(`m${i}/model.onnx`))
      await saveModel(model.model, paths.at(-1)!, { externalData: { location: 'w%41.data' } })
      await model.close()
      put(paths.at(-1)!, `m${i}/model.onnx`)
      put(file(`m${i}/w%41.data`), `m${i}/w%41.data`)
    }
    const local = await average(paths, file('averaged.onnx'))
    const localData = readFileSync(file('averaged.onnx.data'))
    const urls = [1, 2].map(i => `${server.origin}/store/m${i}/model.onnx?token=secret`)
    const remote = await average(urls, file('averaged.onnx'))
    assert.ok(local.equals(remote))
    assert.ok(localData.equals(readFileSync(file('averaged.onnx.data'))))
    server.files.delete('/store/m2/w%41.data')
    const error = await errorOf(planAverage(urls))
    assert.match(
      error.message,
      /: the data file cannot be read: read http:.*\/m2\/w%2541\.data: there is no such/,
    )
    assert.match(error.cure!, /needs its data files beside it/)
  }))

test('safetensors in several files', () =>
  withFolder(async file => {
    const parts = ['model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors'] as const
    const index = 'model.safetensors.index.json'
    const folder = join(file(''), 'sharded')
    mkdirSync(folder)
    await writeSafetensors(join(folder, parts[0]), [['a', Tensor.of('float32', [2], [1, 2])]])
    await writeSafetensors(join(folder, parts[1]), [['b', Tensor.of('float16', [1], [1])]])
    const weight_map = { a: parts[0], b: parts[1] }
    server.files.set(`/x/${index}`, Buffer.from(JSON.stringify({ weight_map })))
    for (const part of parts) server.files.set(`/x/${part}`, readFileSync(join(folder, part)))
    const url = `${server.origin}/x/${index}?token=secret`
    const checkpoint = await openCheckpoint(url)
    assert.equal([...checkpoint.tensors.keys()], ['a', 'b'])
    assert.equal([...(await checkpoint.tensors.get('b')!.tensor!.bytes())], [0x00, 0x3c])
    await checkpoint.close()
    const plan = await planAverage([url])
    // One part is replaced by another of the same length.
    await writeSafetensors(join(folder, parts[1]), [['b', Tensor.of('float16', [1], [2])]])
    server.files.set(`/x/${parts[1]}`, readFileSync(join(folder, parts[1])))
    const error = await errorOf(runAverage(plan, file('late.safetensors')))
    assert.match(error.message, /index\.json has changed since the average was planned/)
    server.files.set(`/x/${index}`, Buffer.from('{"weight_map": {"a": "https://evil/x"}}'))
    assert.match((await errorOf(planAverage([url]))).message, /expected the name of a file beside the index/)
  }))

test('plans, reports and errors tell no secrets', () =>
  withFolder(async file => {
    await writeCheckpoint(file('step-1.safetensors'), 1)
    await writeCheckpoint(file('step-2.safetensors'), 2)
    const urls = [put(file('step-1.safetensors')), put(file('step-2.safetensors'))]
    const plan = await planAverage(urls)
    assert.equal(
      plan.files.map(({ path }) => path),
      urls.map(url => url.replace('?token=secret', '')),
    )
    assert.equal(
      plan.files.flatMap(({ members }) => members.map(({ name, ordinal }) => [name, ordinal])),
      [
        ['step-1.safetensors', 1],
        ['step-2.safetensors', 2],
      ],
    )
    const report = await runAverage(plan, file('out.safetensors'))
    assert.not.match(JSON.stringify([plan, report]), 'secret')
    const errors = [
      errorOf(planAverage([urls[0]!, urls[0]!])),
      errorOf(planAverage([urls[0]!], { into: urls[1]! })),
      errorOf(planAverage([`${server.origin}/none.safetensors?secret`])),
      errorOf(planAverage([urls[0]!], { into: `${server.origin}/none?secret` })),
    ]
    for (const { message } of await Promise.all(errors)) {
      assert.not.match(message, 'secret')
      assert.match(message, server.origin)
    }
  }))

test('commands that read local files alone say so', async () => {
  const error = await errorOf(loadModel('https://me:secret@h/x.onnx?secret'))
  assert.is(error.message, 'read https://h/x.onnx: expected the path of a local file')
  const list = await errorOf(listCheckpoints(['@https://h/list.txt?secret']))
  assert.match(list.message, /^average: the list https:\/\/h\/list\.txt: expected a local file/)
})

test('in lists URLs are what they are', async () => {
  const urls = ['https://h/a*b?x=[1]', 's3://bucket/folder/', 'http://h/']
  assert.equal(await listCheckpoints(urls), urls)
  assert.equal(await listCheckpoints(['@-'], () => Promise.resolve(`# list\n${urls.join('\r\n')}\n`)), urls)
})

test.run()
