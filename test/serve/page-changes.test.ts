/** The page of the server while models come and go, and with models and images that are unusual. */

import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Page } from 'puppeteer-core'
import sharp from 'sharp'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { Builder } from '../../src/ir/builder.ts'
import { Graph, Model } from '../../src/ir/graph.ts'
import { Value, type Dim } from '../../src/ir/value.ts'
import { loadModel, saveModel } from '../../src/serde/index.ts'
import type { DType } from '../../src/tensor/dtype.ts'
import type { RunningServer } from '../../src/serve/server.ts'
import { findChromium, NO_CHROMIUM } from '../support/chromium.ts'
import { notTried } from '../support/not-tried.ts'
import { act, choose, done, enter, tableOf, textOf, valuesOf } from './support/page-actions.ts'
import { DIGITS, writeIdentity, writeText } from './support/page-models.ts'
import { openPageSite, type PageSite } from './support/page-site.ts'

const chromium = findChromium()
if (chromium === null) notTried(test, `the page while models come and go: ${NO_CHROMIUM}`)
else registerTests(await openPageSite(chromium))

/** Identities of one input, under the names of their outputs. */
async function writeOutputs(
  path: string,
  names: readonly string[],
  dtype: DType = 'float32',
  shape: readonly Dim[] | null = ['batch', 2],
): Promise<string> {
  const op = new Builder(['x'])
  const graph = new Graph('outputs')
  const input = Value.typed('x', dtype, shape ?? [])
  if (shape === null) input.type = { kind: 'tensor', dtype, shape: null }
  graph.inputs = [input]
  graph.outputs = names.map(name => {
    const [y] = op.emit('Identity', graph.inputs, [{ shape: [] }])
    return Object.assign(y!, { name, type: input.type })
  })
  graph.nodes = op.nodes
  await saveModel(new Model(graph, 10, new Map([['', 17]])), path)
  return path
}

/** The digit classifier with weights in the folder `data`, beside which it lies. */
async function writeBelow(data: string): Promise<string> {
  const path = join(data, '..', 'model.onnx')
  const file = await loadModel(DIGITS)
  await saveModel(file.model, path, { externalData: { location: 'w_data.bin', threshold: 256 } })
  await file.close()
  // The toolkit writes such files beside the model only; others do not.
  renameSync(join(data, '..', 'w_data.bin'), join(data, 'data.bin'))
  const bytes = readFileSync(path).toString('latin1').replaceAll('w_data.bin', 'w/data.bin')
  writeFileSync(path, bytes, 'latin1')
  return path
}

function registerTests(site: PageSite): void {
  const folderOf = (...parts: string[]) => {
    const folder = join(site.folder, ...parts)
    mkdirSync(folder, { recursive: true })
    return folder
  }
  const openOn = async (server: RunningServer, model?: string): Promise<Page> => {
    const page = await site.open(server)
    await page.waitForSelector('#versions input')
    if (model !== undefined) await page.click(`input[value="${model}"]`)
    return page
  }
  const shows = (page: Page, selector: string, pattern: RegExp) =>
    page.waitForFunction(`${pattern}.test(document.querySelector('${selector}').textContent)`)

  test('a file that is replaced is shown as it is now', async () => {
    const folder = folderOf('replaced')
    const path = await writeOutputs(join(folder, 'm.onnx'), ['logits'])
    const labels = join(folder, 'm.labels.txt')
    writeFileSync(labels, 'cat\ndog\n\n')
    const server = await site.serve({ places: [{ path, name: null }] })
    const page = await openOn(server)
    await enter(page, '#json', '[[1, 3]]')
    await act(page, '#run')
    assert.is((await tableOf(page))[0]![0], 'dog (1)')
    writeFileSync(labels, 'red\ngreen')
    // Files that change between two looks are being written.
    for (let i = 0; i < 2; i++) await server.repository.update()
    await page.waitForFunction(`document.querySelector('.facts').textContent.includes('Names for 2')`)
    await page.waitForFunction(
      `fetch('page/models.json').then(r => r.json()).then(({ models }) => models[0].labels[0] === 'red')`,
    )
    // The page knows it with its next reading.
    await page.waitForFunction(`(document.querySelector('#run').click(), true)
      && [...document.querySelectorAll('.output tbody th')].some(cell => cell.textContent === 'green (1)')`)
    await writeOutputs(path, ['logits'], 'float32', ['batch', 3])
    for (let i = 0; i < 2; i++) await server.repository.update()
    await shows(page, '.facts', /x FP32 \[\?, 3\]/)
    await done(page)
    await act(page, '#run')
    assert.match(await textOf(page, '.output'), /2 names of classes are left out: no output has as many/)
    assert.is((await tableOf(page)).length, 3, 'three classes by number')
    await page.close()
  })

  test('the next version of a model takes the place of the one that was tried, and it is said', async () => {
    const root = folderOf('versions')
    for (const name of ['a', 'b'])
      await writeOutputs(join(folderOf('versions', name, '1'), 'model.onnx'), ['y'])
    const server = await site.serve({ places: [{ path: root, name: null }] })
    const page = await openOn(server, 'b:1')
    await page.focus('input[value="b:1"]')
    await page.click('#pause')
    await page.focus('input[value="b:1"]')
    await writeOutputs(join(folderOf('versions', 'b', '2'), 'model.onnx'), ['y'])
    for (let i = 0; i < 2; i++) await server.repository.update()
    await shows(page, '#try-title', /^Try b, version 2$/)
    assert.is(
      await textOf(page, '#served-note'),
      'b, version 1 is no longer in service. b, version 2 is chosen now.',
    )
    assert.is(
      await page.evaluate('document.activeElement.value'),
      'b:2',
      'the focus stays among the versions',
    )

    rmSync(join(root, 'a'), { recursive: true })
    rmSync(join(root, 'b'), { recursive: true })
    await server.repository.update()
    await shows(page, '#versions', /No model is in service\./)
    assert.is(await textOf(page, '#try-title'), 'Try it')
    await page.click('#run')
    await shows(page, '#error', /no model is in service/)
    await writeOutputs(join(folderOf('versions', 'c', '1'), 'model.onnx'), ['y'])
    for (let i = 0; i < 2; i++) await server.repository.update()
    await shows(page, '#try-title', /^Try c, version 1$/)
    await act(page, '#run')
    await page.close()
  })

  test('what is wrong with a size is said where it is asked for, and nowhere else', async () => {
    const open = await writeIdentity(join(folderOf('sizes'), 'open.onnx'), 'uint8', ['batch', 'h', 'w', 3])
    const server = await site.serve({
      places: [
        { path: open, name: 'open' },
        { path: DIGITS, name: 'digits' },
      ],
    })
    const image = join(site.folder, 'plain.png')
    await sharp({ create: { width: 8, height: 8, channels: 3, background: '#102030' } }).toFile(image)
    const page = await openOn(server, 'open:1')
    await choose(page, image)
    await enter(page, '#height', '')
    for (const button of ['#run', '#check']) {
      await page.click(button)
      await shows(page, '#error', /^height: expected a whole number of pixels from 1 to 8192$/)
    }
    await page.click('input[value="digits:1"]')
    await act(page, '#run')
    await page.close()
  })

  test('images have the pixels that Node reads: not turned by EXIF, colours under transparency', async () => {
    const size = { width: 6, height: 4 }
    const path = await writeIdentity(join(folderOf('pixels'), 'm.onnx'), 'uint8', [
      1,
      size.height,
      size.width,
      3,
    ])
    const server = await site.serve({ places: [{ path, name: 'm' }] })
    const page = await openOn(server)
    const rgba = Uint8Array.from({ length: 96 }, (_, i) =>
      i % 4 === 3 ? [0, 1, 128, 255][(i >> 2) % 4]! : (37 * i + 11) & 255,
    )
    const rgb = [...rgba].filter((_, i) => i % 4 !== 3)
    const logo = join(site.folder, 'logo.png')
    await sharp(rgba, { raw: { ...size, channels: 4 } }).toFile(logo)
    await choose(page, logo)
    await act(page, '#run')
    assert.equal(await valuesOf(page), [...rgb.slice(0, 12).map(String), '…'])
    const photo = join(site.folder, 'photo.jpg')
    await sharp(Uint8Array.from(rgb), { raw: { ...size, channels: 3 } })
      .withMetadata({ orientation: 6 })
      .jpeg({ quality: 100, chromaSubsampling: '4:4:4' })
      .toFile(photo)
    const stored = await sharp(photo).raw().toBuffer()
    await choose(page, photo)
    await act(page, '#run')
    const shown = (await valuesOf(page)).slice(0, 12).map(Number)
    // Two decoders of JPEG may round differently; the turned image differs by a hundred and more.
    shown.forEach((value, i) => assert.ok(Math.abs(value - stored[i]!) <= 2, `${value} for ${stored[i]!}`))
    await page.close()
  })

  test('models that are unusual: weights in a folder below, any rank, wide integers, other outputs', async () => {
    const folder = folderOf('unusual')
    const below = await writeBelow(folderOf('unusual', 'below', 'w'))
    const long = 'a_name_that_is_longer_than_a_narrow_page_is_wide'
    const write = (name: string, ...rest: [readonly string[], DType?, (readonly Dim[] | null)?]) =>
      writeOutputs(join(folder, `${name}.onnx`), ...rest)
    const server = await site.serve({
      places: [
        { path: below, name: 'below' },
        { path: await write('any', ['y'], 'float32', null), name: 'any' },
        { path: await write('wide', ['y'], 'int64', ['batch']), name: 'wide' },
        { path: await write('two', ['y', 'q']), name: 'two' },
        { path: await write('three', ['y', long]), name: 'three' },
        { path: await writeText(join(folder, 'text')), name: 'text' },
      ],
    })
    const page = await openOn(server, 'below:1')
    await page.click('input[name=kind][value=json]')
    await act(page, '#check')
    assert.match(await textOf(page, '#status'), /this browser agrees with the server/)

    await page.click('input[value="any:1"]')
    assert.match(await textOf(page, '#versions'), /x FP32 of any shape/)
    await enter(page, '#json', '[[1, 2, 3], [4, 5, 6]]')
    await act(page, '#run')
    assert.match(await textOf(page, '.output'), /FP32 \[2, 3\]/)

    await page.click('input[value="wide:1"]')
    await enter(page, '#json', `[${2 ** 53 - 1}]`)
    await act(page, '#run')
    assert.equal(await valuesOf(page), ['9007199254740991'])

    await page.click('input[value="two:1"]')
    await page.select('#other', 'three:1')
    await enter(page, '#json', '[[1.5, -2]]')
    await act(page, '#compare')
    const alone = (name: string) => textOf(page, `[data-output="${name}"]`)
    assert.match(
      await alone('q'),
      /Of two, version 1; three, version 1 has no output of this name\..*1\.5, -2/,
    )
    assert.match(await alone(long), /Of three, version 1; two, version 1 has no output of this name\./)
    await page.click('input[value="three:1"]')
    await page.setViewport({ width: 320, height: 800 })
    await act(page, '#run')
    assert.is(await page.evaluate('document.documentElement.scrollWidth'), 320)

    await enter(page, '#json', '[{"name":"x","shape":[0,2],"data":[]}]')
    await act(page, '#run')
    assert.match(await textOf(page, '.output'), /no elements/)
    await page.close()
  })

  test('nothing went wrong in the pages', () => {
    assert.equal(site.problems, [])
  })

  test.after(() => site.close())
}

test.run()
