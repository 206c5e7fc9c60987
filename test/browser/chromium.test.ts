/** End to end in a headless Chromium: the page fine-tunes, and its engines agree with the CPU engine and with PyTorch. */

import { existsSync, readFileSync, unlinkSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import type { Page } from 'puppeteer-core'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { graphFingerprint } from '../../src/averaging/index.ts'
import { evaluateInBrowser } from '../../src/browser/index.ts'
import { decodeImage } from '../../src/data/image-decode.ts'
import { limitDataset, openDataset, splitDataset } from '../../src/data/index.ts'
import { cpuEngine } from '../../src/runtime/ort-cpu/engine.ts'
import { deserializeModel, openModelBytes } from '../../src/serde/index.ts'
import { findChromium, NO_CHROMIUM } from '../support/chromium.ts'
import { notTried } from '../support/not-tried.ts'
import { readSafetensors } from '../support/safetensors.ts'
import { writeImages } from './support/images.ts'
import { stepsOfReference } from './support/reference-steps.ts'
import { callInPage, openSite, type Site } from './support/site.ts'
import { runSteps, type StepsResult } from './support/ten-steps.ts'

const FIXTURES = join(import.meta.dirname, '../../fixtures')
const CNN = join(FIXTURES, 'models/bn_cnn-ts')
/** Lossless ones: decoders of JPEG differ by single levels. */
const IMAGES = ['portrait.png', 'small.png', 'gray.png', 'palette.png', 'lossless.webp']
const TOLERANCE = 1e-4
/** Half a unit of the last of the four digits that the page shows. */
const SHOWN_DIGITS = 5e-4 + 1e-4

const demo = new Uint8Array(readFileSync(join(FIXTURES, 'demo/digits_cnn.onnx')))
const chromium = findChromium()
if (chromium === null) notTried(test, `browser: ${NO_CHROMIUM}`)
else await registerTests(await openSite(chromium, { 'steps.onnx': join(CNN, 'model.onnx') }))

async function registerTests(site: Site): Promise<void> {
  const request = stepsOfReference('bn_cnn-ts')
  const model = new Uint8Array(readFileSync(join(CNN, 'model.onnx')))
  const cpu = await runSteps(cpuEngine(), model, request)
  const tensors = readSafetensors(join(CNN, 'reference.safetensors'))

  for (const engine of ['wasm', 'webgpu'] as const) {
    test(`${engine}: ten steps agree with the CPU engine and with PyTorch`, async () => {
      const page = await site.open()
      const found = await callInPage<StepsResult>(page, 'stepsHere', engine, 'steps.onnx', request)
      await page.close()
      for (const [name, values] of Object.entries(found.weights)) {
        const torch = tensors.get(`steps/param/${name}`) ?? tensors.get(`steps/buffer/${name}`)
        assert.ok(torch, name)
        closeTo(values, cpu.weights[name]!, `${name} and the CPU engine's`)
        closeTo(values, torch.toNumbers(), `${name} and PyTorch's`)
      }
      closeTo(found.losses, cpu.losses, 'losses')
      assert.equal(Object.keys(found.weights).sort(), Object.keys(cpu.weights).sort())
      assert.equal(found.notes, [], 'every node has a kernel')
      const stateBytes = 4 * Object.values(found.weights).reduce((sum, { length }) => sum + length, 0)
      const momentum =
        4 *
        Object.entries(found.weights).reduce(
          (sum, [name, { length }]) => sum + (name.includes('running') ? 0 : length),
          0,
        )
      // The state crosses when it is set and when it is read, not with each step.
      assert.is(found.traffic.stateBytes, engine === 'wasm' ? 0 : 2 * (stateBytes + momentum))
      assert.is(found.traffic.steps, 10)
    })
  }

  test('the page is isolated, and its threads and engines show', async () => {
    const page = await site.open()
    await page.waitForSelector('input[name=engine]')
    assert.ok(await page.evaluate('crossOriginIsolated'))
    const text = await textOf(page, '#engines')
    assert.match(text, /WebGPU: google swiftshader/)
    assert.match(text, /WebAssembly: (\d+ threads|one processor)/)
    const chosen = `document.querySelector('input[name=engine]:checked').value`
    assert.is(await page.evaluate(chosen), 'wasm', 'a program is no GPU')
    await page.waitForFunction(`document.querySelector('#model-note').textContent !== ''`)
    assert.match(await textOf(page, '#model-note'), /20 nodes, opset 17/)
    await page.close()
  })

  test('neither the page nor its worker reaches another address', async () => {
    let reached = 0
    const other = createServer((_, response) => {
      reached++
      response.setHeader('Access-Control-Allow-Origin', '*')
      response.setHeader('Cross-Origin-Resource-Policy', 'cross-origin')
      response.end('here')
    })
    await new Promise<void>(resolve => other.listen(0, '127.0.0.1', resolve))
    const url = `http://127.0.0.1:${(other.address() as AddressInfo).port}/`
    const page = await site.open()
    await page.waitForSelector('input[name=engine]')
    const attempt = (address: string) =>
      fetch(address).then(
        () => 'reached',
        () => 'refused',
      )
    assert.is(await page.evaluate(attempt, url), 'refused')
    const [worker] = page.workers()
    assert.ok(worker)
    assert.is(await worker.evaluate(attempt, url), 'refused')
    assert.is(reached, 0)
    await page.close()
    other.close()
  })

  test('images of a chosen folder have the pixels that Node decodes', async () => {
    const page = await site.open()
    for (const name of IMAGES) {
      const path = join(FIXTURES, 'data/images', name)
      const found = await callInPage<Pixels>(page, 'pixelsHere', [...readFileSync(path)])
      const wanted = await decodeImage(path)
      assert.equal(found.dims, [...wanted.dims], name)
      assert.equal(found.data, [...wanted.data], name)
    }
    await page.close()
  })

  test('wasm: the page fine-tunes; loss falls, and the file it gives has the accuracy it showed', async () => {
    const page = await site.open()
    const { rows, losses } = await fineTune(page, 'wasm', { limit: 200, epochs: 4, batchSize: 20 })
    assert.ok(losses.last < 0.8 * losses.start, `loss ${losses.start} before, ${losses.last} after`)
    assert.ok(rows['swa']!.accuracy > 30, `accuracy ${rows['swa']!.accuracy} %`)
    await checkDownloads(site, page, rows, 200)
    await page.close()
  })

  test('webgpu: the page fine-tunes, and the file it gives has the accuracy it showed', async () => {
    const page = await site.open()
    const { rows } = await fineTune(page, 'webgpu', { limit: 12, epochs: 1, batchSize: 4 })
    await checkDownloads(site, page, rows, 12)
    await page.close()
  })

  test('a chosen folder is read as Node reads it', async () => {
    const folder = await writeImages(join(site.downloads, '../images'), 40)
    const page = await site.open()
    const input = await page.$('#data-folder')
    await (input as unknown as FileInput).uploadFile(folder)
    await page.waitForFunction(`document.querySelector('#data-note').textContent === '40 files chosen'`)
    const { rows } = await fineTune(page, 'wasm', { limit: 40, epochs: 1, batchSize: 6 })
    await page.close()
    const [, held] = splitDataset(await openDataset(folder), 0.1, 0)
    const metrics = await evaluateInBrowser(cpuEngine(), demo, held)
    closeTo([rows['start']!.loss], [metrics.loss], 'loss before training', SHOWN_DIGITS)
    assert.is(rows['start']!.accuracy, 100 * metrics.top1!)
  })

  test('a run is stopped by its button, and another one can begin', async () => {
    const page = await site.open()
    await startRun(page, 'wasm', { limit: 200, epochs: 100, batchSize: 20 })
    await page.waitForFunction(`/^step \\d/.test(document.querySelector('#status').textContent)`)
    await page.click('#stop')
    await page.waitForFunction(`document.querySelector('#status').textContent.startsWith('Stopped')`)
    assert.is(await page.evaluate(`document.querySelector('#start').disabled`), false)
    await page.close()
  })

  test('an error shows with its cure', async () => {
    const page = await site.open()
    await startRun(page, 'wasm', { limit: 20, epochs: 1, batchSize: 500 })
    await page.waitForSelector('#error:not([hidden])')
    const text = await textOf(page, '#error')
    assert.match(text, /has 20 samples, expected at least one batch of 500/)
    assert.match(text, /To cure it: use a smaller/)
    await page.close()
  })

  test('nothing went wrong in the pages', () => {
    const refused = site.problems.filter(
      problem => !/Content Security Policy|violates the document/.test(problem),
    )
    assert.equal(refused, [])
  })

  test.after(() => site.close())
}

/** What is used of puppeteer's handle, whose own type needs those of the DOM. */
interface FileInput {
  uploadFile(path: string): Promise<void>
}

interface Pixels {
  readonly data: readonly number[]
  readonly dims: readonly number[]
}

/** Ten batches of the reference run, in plain numbers. */
async function textOf(page: Page, selector: string): Promise<string> {
  return (await page.evaluate(`document.querySelector('${selector}').textContent`)) as string
}

/** Relative distance of two vectors. */
function closeTo(
  found: readonly number[],
  wanted: readonly number[],
  what: string,
  tolerance = TOLERANCE,
): void {
  assert.is(found.length, wanted.length, what)
  const norm = (values: readonly number[]) => Math.sqrt(values.reduce((sum, value) => sum + value ** 2, 0))
  const error = norm(found.map((value, i) => value - wanted[i]!)) / norm(wanted)
  assert.ok(error <= tolerance, `${what}: relative error ${error}`)
}

interface Settings {
  readonly limit: number
  readonly epochs: number
  readonly batchSize: number
}

/** What a row of the table says: accuracy in percent. */
interface Row {
  readonly accuracy: number
  readonly loss: number
}

async function startRun(page: Page, engine: string, { limit, epochs, batchSize }: Settings): Promise<void> {
  await page.waitForSelector(`input[name=engine][value=${engine}]`)
  await page.click(`input[name=engine][value=${engine}]`)
  for (const [id, value] of Object.entries({ limit, epochs, 'batch-size': batchSize })) {
    await page.evaluate(`document.querySelector('#${id}').value = '${value}'`)
  }
  await page.click('#start')
}

async function fineTune(page: Page, engine: string, settings: Settings) {
  await startRun(page, engine, settings)
  await page.waitForSelector('#result:not([hidden]), #error:not([hidden])', { timeout: 170_000 })
  assert.is(await textOf(page, '#error'), '')
  const table = (await page.evaluate(`[...document.querySelectorAll('#rows tr')].map(row =>
    [row.dataset.name, ...[...row.querySelectorAll('td')].map(cell => cell.textContent)])`)) as string[][]
  const rows: Record<string, Row> = Object.fromEntries(
    table.map(([name, , accuracy, loss]) => [name!, { accuracy: parseFloat(accuracy!), loss: Number(loss) }]),
  )
  assert.equal(Object.keys(rows), ['start', 'last', 'best', 'swa'])
  return { rows, losses: { start: rows['start']!.loss, last: rows['last']!.loss } }
}

/** The downloaded files: the input's graph, weights of their own, and the metrics that the page showed. */
async function checkDownloads(
  site: Site,
  page: Page,
  rows: Readonly<Record<string, Row>>,
  limit: number,
): Promise<void> {
  const fingerprint = await graphFingerprint((await openModelBytes(demo)).model)
  const digits = limitDataset(
    await openDataset(join(site.downloads, '../page/demo'), { split: 'test' }),
    limit,
    0,
  )
  for (const [file, row] of [
    ['averaged.onnx', 'swa'],
    ['last.onnx', 'last'],
  ] as const) {
    const path = join(site.downloads, file)
    await page.click(`a[download="${file}"]`)
    for (let tries = 0; !existsSync(path) && tries < 100; tries++)
      await new Promise(done => setTimeout(done, 100))
    const bytes = new Uint8Array(readFileSync(path))
    const model = await deserializeModel(bytes)
    assert.is(await graphFingerprint(model), fingerprint, file)
    assert.is(model.metadata.get('swa_onnx.method'), row)
    assert.not.equal(bytes, demo)
    const metrics = await evaluateInBrowser(cpuEngine(), bytes, digits, { batchSize: 64 })
    assert.is(metrics.samples, limit)
    assert.is((100 * metrics.top1!).toFixed(2), rows[row]!.accuracy.toFixed(2), `${file}: accuracy`)
    closeTo([metrics.loss], [rows[row]!.loss], `${file}: loss`, SHOWN_DIGITS)
    unlinkSync(path)
  }
}

test.run()
