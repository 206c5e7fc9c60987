/** What lies in the folders that are served: strange entries, missing files, what cannot be read. */

import { cpSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { reasonOf } from '../../src/serve/repository/repository.ts'
import { parseRouting } from '../../src/serve/repository/routing.ts'
import { loadModel, saveModel } from '../../src/serde/index.ts'
import { identityModel, publish, scaleModel } from './support/small-models.ts'
import { ask, closeAll, serve, temporaryFolder, until, type TestServer } from './support/running.ts'

const folder = temporaryFolder()
test.after(async () => {
  await closeAll()
  folder.remove()
})

const ROW = [[1, 2, 3]]
const times = (factor: number) => ROW[0]!.map(value => value * factor)
const answers = async (running: TestServer, model: string, factor: number) =>
  String(await ask(running, model, ROW).catch(String)) === String(times(factor))
const statesOf = ({ server }: TestServer) =>
  server.repository.index(false).map(({ name, version, state }) => `${name}:${version} ${state}`)

/** y = factor * x, with the factor in a data file. */
async function writeWithData(at: string, location: string, factor: number): Promise<void> {
  const plain = folder.path('plain', 'model.onnx')
  publish(plain, await scaleModel(factor))
  const file = await loadModel(plain)
  mkdirSync(at, { recursive: true })
  await saveModel(file.model, `${at}/model.onnx`, { externalData: { location, threshold: 1 } })
  await file.close()
}

test('an entry that is new or strange changes nothing for the others', async () => {
  const root = folder.path('entries')
  publish(`${root}/a/1/model.onnx`, await scaleModel(2))
  publish(`${root}/b/1/model.onnx`, await scaleModel(3))
  const running = await serve([{ path: root, name: null }])
  const before = running.log.length
  mkdirSync(`${root}/2024`)
  mkdirSync(`${root}/folder.onnx`)
  writeFileSync(`${root}/notes.txt`, 'x')
  publish(`${root}/stray.onnx`, await scaleModel(5))
  await until('the stray file is served too', () => answers(running, 'stray', 5))
  publish(`${root}/7/model.onnx`, await scaleModel(7))
  await until('the folder is a model too', () => answers(running, 'entries', 7))
  assert.ok(await answers(running, 'a', 2))
  assert.ok(await answers(running, 'b', 3))
  assert.equal(statesOf(running), ['a:1 READY', 'b:1 READY', 'entries:7 READY', 'stray:1 READY'])
  const since = running.log.slice(before).map(({ model, msg }) => `${String(model)}: ${String(msg)}`)
  assert.not.ok(
    since.some(line => /^[ab]: /.test(line)),
    since.join('\n'),
  )
  await running.close()
})

test('a model that is new and cannot be loaded leaves the server ready', async () => {
  const root = folder.path('ready')
  publish(`${root}/a/1/model.onnx`, await scaleModel(2))
  const running = await serve([{ path: root, name: null }])
  const ready = async () => (await fetch(`${running.url}/v2/health/ready`)).status
  writeFileSync(`${folder.path()}/garbage`, 'garbage')
  mkdirSync(`${root}/bad/1`, { recursive: true })
  renameSync(`${folder.path()}/garbage`, `${root}/bad/1/model.onnx`)
  await until('it was refused', () => statesOf(running).includes('bad:1 UNAVAILABLE'))
  assert.is(await ready(), 200)
  assert.is((await fetch(`${running.url}/v2/models/bad/ready`)).status, 400)
  publish(`${root}/bad/1/model.onnx`, await scaleModel(3))
  await until('it is in service', () => answers(running, 'bad', 3))
  await running.close()
})

test('a place that is gone and a name that is taken stop nobody else', async () => {
  const root = folder.path('others')
  for (const name of ['a', 'b']) publish(`${root}/${name}.onnx`, await scaleModel(2))
  publish(`${root}/folder/c d.onnx`, await scaleModel(2))
  const running = await serve([
    { path: `${root}/a.onnx`, name: null },
    { path: `${root}/b.onnx`, name: 'bee' },
    { path: `${root}/folder`, name: null },
  ])
  const warnings = () => running.log.filter(({ msg }) => /could be looked for/.test(String(msg)))
  rmSync(`${root}/a.onnx`)
  publish(`${root}/folder/c_d.onnx`, await scaleModel(11))
  publish(`${root}/b.onnx`, await scaleModel(3))
  await until('the other is replaced', () => answers(running, 'bee', 3))
  assert.ok(await answers(running, 'a', 2), 'what was loaded stays')
  assert.ok(await answers(running, 'c_d', 2), 'who had the name keeps it')
  const texts = warnings().map(({ msg }) => String(msg))
  assert.ok(texts.some(text => text.includes('a.onnx')) && texts.some(text => /the name c_d/.test(text)))
  const count = warnings().length
  publish(`${root}/b.onnx`, await scaleModel(4))
  await until('and again', () => answers(running, 'bee', 4))
  assert.is(warnings().length, count, 'said once, not at every look')
  assert.ok(warnings().every(({ err }) => err === undefined))
  await running.close()
})

test('data files of any name are waited for, and watched', async () => {
  const root = folder.path('data')
  publish(`${root}/a/1/model.onnx`, await scaleModel(2))
  const running = await serve([{ path: root, name: null }])
  const aside = folder.path('aside')
  await writeWithData(aside, 'weights.bin', 3)
  mkdirSync(`${root}/m/1`, { recursive: true })
  cpSync(`${aside}/model.onnx`, `${root}/m/1/model.onnx`)
  await until('it was refused', () => statesOf(running).includes('m:1 UNAVAILABLE'))
  cpSync(`${aside}/weights.bin`, `${root}/m/1/weights.bin`)
  await until('it is in service', () => answers(running, 'm', 3))
  await writeWithData(aside, 'weights.bin', 5)
  renameSync(`${aside}/weights.bin`, `${root}/m/1/weights.bin`)
  await until('the new weights answer', () => answers(running, 'm', 5))
  const loads = running.log.filter(({ model, msg }) => model === 'm' && msg === 'in service')
  assert.is(loads.length, 2, 'loaded when there was something to load')

  writeFileSync(`${root}/a/labels.txt`, 'x\ny\nz\n')
  const labels = () => running.server.repository.model('a').versions[0]?.labels
  await until('the labels are there', () => labels()?.join() === 'x,y,z')
  writeFileSync(`${root}/a/labels.txt`, 'red\ngreen\nblue\n')
  await until('the labels are the new ones', () => labels()?.join() === 'red,green,blue')
  await running.close()
})

test('a configuration that cannot be used changes nothing, and is told', async () => {
  const root = folder.path('configured')
  publish(`${root}/m/1/model.onnx`, await scaleModel(2))
  publish(`${root}/m/2/model.onnx`, await scaleModel(3))
  const running = await serve([{ path: root, name: null }])
  const failures = () => running.log.filter(({ msg }) => msg === 'could not be loaded')
  writeFileSync(`${root}/m/config.pbtxt`, 'max_batch_size: {{{')
  await until('the reason is in the index', () =>
    running.server.repository
      .index(true)
      .some(({ version, reason }) => version === '2' && /config/.test(reason ?? '')),
  )
  assert.ok(await answers(running, 'm', 3))
  assert.is(failures().length, 1, 'once, and for the version in service alone')
  for (const [text, reason] of [
    ['output [{ name: "y" data_type: TYPE_INT32 dims: [3] }]', /"y".*TYPE_INT32.*TYPE_FP32/],
    ['max_batch_size: 4 output [{ name: "y" data_type: TYPE_FP32 dims: [9] }]', /"y".*\[9\].*\[3\]/],
    ['max_batch_size: 4 input [{ name: "x" data_type: TYPE_FP32 dims: [-1, 3] }]', /"x".*\[-1,3\].*\[3\]/],
  ] as const) {
    writeFileSync(`${root}/m/config.pbtxt`, text)
    await until(`${text} is refused`, () =>
      running.server.repository.index(true).some(entry => reason.test(entry.reason ?? '')),
    )
    assert.ok(await answers(running, 'm', 3))
  }
  writeFileSync(
    `${root}/m/config.pbtxt`,
    'max_batch_size: 4 input [{ name: "x" data_type: TYPE_FP32 dims: [-1] }] output [{ name: "y" data_type: TYPE_FP32 dims: [3] }]',
  )
  await until('a good one is taken', () =>
    running.server.repository.index(true).every(({ reason }) => reason === ''),
  )
  await running.close()
})

test('a file is a model whatever its name ends in', async () => {
  const path = folder.path('named', 'weights.bin')
  publish(path, await identityModel('float32'))
  const running = await serve([{ path, name: 'm' }])
  assert.ok(await answers(running, 'm', 1))
  await running.close()
})

test('versions that are not there are named with those that are, and canaries that are not in the log', async () => {
  const root = folder.path('versions')
  publish(`${root}/m/1/model.onnx`, await scaleModel(2))
  const places = [{ path: root, name: null }]
  const message = await serve(places, { versions: { kind: 'specific', versions: ['7'] } }).then(
    () => '',
    (error: unknown) => (error as Error).message,
  )
  assert.match(message, /expected version 7, found m:1$/)
  const running = await serve(places, { routing: parseRouting(['m:2=10'], ['n:1']) })
  const told = running.log.filter(({ msg }) => /canary or shadow/.test(String(msg)))
  assert.equal(
    told.map(({ model, version }) => `${String(model)}:${String(version)}`),
    ['m:2', 'n:1'],
  )
  await running.close()
})

test('reasons name files, not where they lie', () => {
  for (const [text, wanted] of [
    ['Load model from /srv/models/model.onnx failed', 'Load model from model.onnx failed'],
    ['Load model from au/a/1/model.onnx failed', 'Load model from model.onnx failed'],
    ["ENOENT: open './x/../labels.txt'", "ENOENT: open 'labels.txt'"],
    ['Load model from C:\\models\\a\\model.onnx failed', 'Load model from model.onnx failed'],
    ['file:///srv/models/model.onnx is damaged', 'model.onnx is damaged'],
    ['(/srv/models/weights.bin)', '(weights.bin)'],
    ['cannot read /srv/models/', 'cannot read '],
    ['expected float16/float32, found N/A', 'expected float16/float32, found N/A'],
  ] as const) {
    assert.is(reasonOf(new Error(text)), wanted)
  }
  const spaced = new Error('Load model from /srv/my models/a/1/model.onnx failed')
  assert.is(reasonOf(spaced, '/srv/my models/a/1'), 'Load model from model.onnx failed')
})

test.run()
