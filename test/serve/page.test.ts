/** The page of the server in a headless Chromium, against a real server. */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Page } from 'puppeteer-core'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { decodeImage } from '../../src/data/image-decode.ts'
import { InferenceClient } from '../../src/serve/client/client.ts'
import { softmax } from '../../src/serve/page/classes.ts'
import { findChromium, NO_CHROMIUM } from '../support/chromium.ts'
import { notTried } from '../support/not-tried.ts'
import { DIGITS, LABELS, writeIdentity, writeChanged, writeImage, writeText } from './support/page-models.ts'
import {
  act,
  axe,
  choose,
  digits,
  done,
  enter,
  prepare,
  share,
  tableOf,
  tabTo,
  textOf,
  topRows,
  valuesOf,
} from './support/page-actions.ts'
import { openPageSite, type PageSite } from './support/page-site.ts'

const PHOTO = join(import.meta.dirname, '../../fixtures/data/images/portrait.png')
const SHARES_NONE = 'This server does not share its models: start it with --share-models.'

const chromium = findChromium()
if (chromium === null) notTried(test, `the page of the server: ${NO_CHROMIUM}`)
else await registerTests(await openPageSite(chromium))

async function registerTests(site: PageSite): Promise<void> {
  const image = join(site.folder, 'image.png')
  const pixels = await writeImage(image)
  const normalised = prepare(pixels)
  const server = await site.serve({
    places: [
      { path: DIGITS, name: 'digits' },
      { path: DIGITS, name: 'again' },
      { path: await writeChanged(join(site.folder, 'changed')), name: 'changed' },
      { path: await writeText(join(site.folder, 'text')), name: 'text' },
      { path: await writeIdentity(join(site.folder, 'bfloat16.onnx'), 'bfloat16'), name: 'bfloats' },
      { path: await writeIdentity(join(site.folder, 'float16.onnx'), 'float16'), name: 'halves' },
      {
        path: await writeIdentity(join(site.folder, 'open.onnx'), 'uint8', ['batch', 'h', 'w', 3]),
        name: 'open',
      },
    ],
  })
  const client = new InferenceClient(server.url)
  const logitsOf = async (model: string, data: Float32Array): Promise<Float32Array> => {
    const { outputs } = await client.infer(model, {
      image: { datatype: 'FP32', shape: [1, 1, 28, 28], data },
    })
    return outputs['logits']!.data as Float32Array
  }
  const open = async (model: string): Promise<Page> => {
    const page = await site.open(server)
    await page.waitForSelector('#versions input')
    await page.click(`input[value="${model}:1"]`)
    return page
  }

  test('the page shows what is in service', async () => {
    const page = await open('digits')
    assert.ok(await page.evaluate('crossOriginIsolated'))
    assert.match(await textOf(page, '#server'), /^swa-onnx \d.*engine cpu: 7 versions in service\.$/)
    const cards = (await page.evaluate(
      `[...document.querySelectorAll('.card')].map(card => card.innerText.replace(/\\s+/g, ' '))`,
    )) as string[]
    assert.is(cards.length, 7)
    const card = (name: string) => cards.find(text => text.startsWith(name))!
    assert.is(
      card('digits'),
      'digits, version 1 Inputs image FP32 [?, 1, 28, 28] Outputs logits FP32 [?, 10] Requests are batched along the first dimension.',
    )
    assert.match(card('changed'), /Names for 10 classes\.$/)
    assert.match(card('bfloats'), /x BF16 \[\?, 2\]/)
    assert.is(await textOf(page, '#try-title'), 'Try digits, version 1')
    await page.close()
  })

  test('an image has the result that a client gets for its pixels', async () => {
    const page = await open('changed')
    await choose(page, image)
    assert.is(
      await textOf(page, '#image-note'),
      'image.png: 28 × 28 pixels, gray, pixels / 255, mean 0.1307, std 0.3081.',
    )
    await act(page, '#run')
    const logits = await logitsOf('changed', normalised)
    assert.equal(await tableOf(page), topRows(logits, LABELS))
    assert.match(await textOf(page, '.output'), /their softmax is shown, which the model did not compute/)
    assert.equal(await valuesOf(page), [...logits].map(digits))
    const [best] = topRows(logits, LABELS)
    assert.match(await textOf(page, '#status'), /^changed, version 1 answered in [\d.]+ ms\. Most likely: /)
    assert.ok((await textOf(page, '#status')).includes(`${best![0]!}, ${best![1]!}`))
    await page.select('#preset', 'none')
    await act(page, '#run')
    const plain = await logitsOf('changed', prepare(pixels, 'none'))
    assert.equal(await valuesOf(page), [...plain].map(digits))
    await page.close()
  })

  test('an image gets the size that is asked for where the model leaves it open', async () => {
    const page = await open('open')
    assert.ok(await page.evaluate(`document.querySelector('#preset-label').hidden`), 'bytes stay bytes')
    await choose(page, PHOTO)
    await page.evaluate(`document.querySelector('#height').value = '20'`)
    await page.evaluate(`document.querySelector('#width').value = '30'`)
    await act(page, '#run')
    assert.match(await textOf(page, '.output'), /UINT8 \[1, 20, 30, 3\]/)
    const size = { height: 20, width: 30 }
    const geometry = { place: () => ({ region: null, size }), key: null, resample: 'exact' as const }
    const { data } = await decodeImage(PHOTO, geometry)
    assert.equal(await valuesOf(page), [...data.subarray(0, 12), '…'].map(String))
    await page.close()
  })

  test('a dropped image is taken, one beside the zone is not', async () => {
    const page = await open('digits')
    const bytes = JSON.stringify([...readFileSync(image)])
    const dropOn = (selector: string, name: string) =>
      page.evaluate(`(() => {
        const dataTransfer = new DataTransfer()
        dataTransfer.items.add(new File([Uint8Array.from(${bytes})], '${name}', { type: 'image/png' }))
        const place = document.querySelector('${selector}')
        place.dispatchEvent(new DragEvent('drop', { dataTransfer, bubbles: true, cancelable: true }))
      })()`)
    await dropOn('#run', 'elsewhere.png')
    assert.match(await textOf(page, '#image-note'), /^No image yet: /)
    await dropOn('#drop', 'dropped.png')
    assert.match(await textOf(page, '#image-note'), /^dropped\.png: /)
    assert.is(await page.evaluate(`document.querySelector('#preview').alt`), 'The chosen image: dropped.png')
    await act(page, '#run')
    assert.equal(await valuesOf(page), [...(await logitsOf('digits', normalised))].map(digits))
    await page.close()
  })

  test('JSON has the result that a client gets for its numbers; what is wrong with it is said', async () => {
    const page = await open('digits')
    await page.click('input[name=kind][value=json]')
    await act(page, '#run')
    const example = Float32Array.from({ length: 784 }, (_, i) => ((37 * i) % 101) / 100)
    assert.equal(await valuesOf(page), [...(await logitsOf('digits', example))].map(digits))
    const rows = Array.from({ length: 28 }, (_, y) => [...normalised.subarray(28 * y, 28 * y + 28)])
    await enter(page, '#json', JSON.stringify([rows]))
    await act(page, '#run')
    assert.equal(await valuesOf(page), [...(await logitsOf('digits', normalised))].map(digits))
    await enter(page, '#json', '[[1, 2]]')
    await page.click('#run')
    await page.waitForSelector('#error:not([hidden])')
    assert.match(await textOf(page, '#error'), /input "image": expected shape \[-1,1,28,28\], found \[1,2\]/)
    assert.is(await textOf(page, '#outputs'), '', 'no result of before')
    await page.close()
  })

  test('a text is run by its tokens', async () => {
    const page = await open('text')
    await enter(page, '#text', 'A good GOOD film!')
    await act(page, '#run')
    assert.equal(await valuesOf(page), ['2', '4', '5', '5', '6', '1', '3'])
    await act(page, '#check')
    assert.match(await textOf(page, '#status'), /this browser agrees with the server/)
    await page.close()
  })

  test('this browser computes the same, with weights in a data file too', async () => {
    const page = await open('changed')
    await choose(page, image)
    await act(page, '#check')
    assert.match(await textOf(page, '#status'), /^changed, version 1: this browser agrees with the server \(/)
    assert.is(await textOf(page, '.verdict'), 'Agrees.')
    assert.match(
      await textOf(page, '.output'),
      /(No difference at all|Largest difference \S+, relative to the largest magnitude \d\S*)\. Up to 0\.001 /,
    )
    await page.close()
  })

  test('float16 is checked with the tolerance of its rounding', async () => {
    const page = await open('halves')
    await enter(page, '#json', '[[1.5, -2], [0.1, 3]]')
    await act(page, '#check')
    assert.match(await textOf(page, '.output'), /Agrees\.No difference at all\. Up to 0\.01 /)
    await act(page, '#run')
    // The float16 that is next to 0.1.
    assert.equal(await valuesOf(page), ['1.5', '-2', '0.0999756', '3'])
    await page.close()
  })

  test('bfloat16 runs on the server only, and the page says so', async () => {
    const page = await open('bfloats')
    assert.match(await textOf(page, '#check-note'), /BF16 are not possible in a browser/)
    await enter(page, '#json', '[[1.5, -2]]')
    await act(page, '#run')
    assert.equal(await valuesOf(page), ['1.5', '-2'])
    await page.click('#check')
    await page.waitForSelector('#error:not([hidden])')
    assert.match(await textOf(page, '#error'), /BF16 are not possible/)
    await page.close()
  })

  test('two versions are shown beside each other', async () => {
    const page = await open('digits')
    await choose(page, image)
    const others = await page.evaluate(`[...document.querySelector('#other').options].map(o => o.value)`)
    assert.equal(others, ['again:1', 'changed:1'], 'those with the same inputs')
    await page.select('#other', 'changed:1')
    await act(page, '#compare')
    const [first, second] = [await logitsOf('digits', normalised), await logitsOf('changed', normalised)]
    const largest = Math.max(...first.map((value, i) => Math.abs(value - second[i]!)))
    assert.ok(
      (await textOf(page, '.output')).includes(`Largest difference ${Number(largest.toPrecision(3))},`),
    )
    const heads = await page.evaluate(
      `[...document.querySelectorAll('.output thead th')].map(cell => cell.textContent)`,
    )
    assert.equal(heads, ['Class', 'digits, version 1', 'changed, version 1', 'Change, points'])
    const [p, q] = [softmax(Float64Array.from(first)), softmax(Float64Array.from(second))]
    const best = p.indexOf(Math.max(...p))
    const [row] = await tableOf(page)
    assert.equal(row!.slice(0, 3), [`${LABELS[best]!} (${best})`, share(p[best]!), share(q[best]!)])
    assert.is(Number(row![3]!.replace('−', '-')), Number((100 * (q[best]! - p[best]!)).toFixed(2)))
    await page.select('#other', 'again:1')
    await act(page, '#compare')
    assert.match(await textOf(page, '.output'), /No difference at all\./)
    await page.close()
  })

  test('charts, sentence and table follow the traffic', async () => {
    const page = await open('digits')
    await page.waitForFunction(`document.querySelector('#traffic-rows').children.length >= 1`)
    for (let i = 0; i < 5; i++) await logitsOf('digits', normalised)
    await page.waitForFunction(
      `/digits, version 1: [1-9].* requests per second.* half of them took at most [\\d.]+ ms/.test(document.querySelector('#traffic-now').textContent)`,
    )
    const drawn = await page.evaluate(`(() => {
      const canvas = document.querySelector('#rate-chart canvas')
      const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data
      return [document.querySelectorAll('.u-wrap canvas').length, pixels.some(value => value > 0)]
    })()`)
    assert.equal(drawn, [3, true])
    await page.click('#pause')
    const rows = () => page.evaluate(`document.querySelector('#traffic-rows').textContent`)
    const before = await rows()
    await new Promise(done => setTimeout(done, 1500))
    assert.is(await rows(), before, 'paused')
    await page.click('#pause')
    await page.waitForFunction(
      `document.querySelector('#traffic-rows').textContent !== ${JSON.stringify(before)}`,
    )
    await page.evaluate(`Object.defineProperty(document, 'visibilityState', { value: 'hidden' })`)
    await page.evaluate(`document.dispatchEvent(new Event('visibilitychange'))`)
    const hidden = await rows()
    await new Promise(done => setTimeout(done, 1500))
    assert.is(await rows(), hidden, 'hidden')
    await page.close()
  })

  test('the page asks for a key where the server does, and keeps it to itself', async () => {
    const locked = await site.serve({
      places: [{ path: DIGITS, name: 'digits' }],
      apiKey: 'open-sesame',
      shareModels: false,
    })
    const page = await site.open(locked)
    await page.waitForSelector('#key:not([hidden])')
    assert.is(await page.evaluate(`document.activeElement.id`), 'key-field')
    assert.ok(await page.evaluate(`document.querySelector('#served').hidden`))
    await page.keyboard.type('wrong')
    await page.keyboard.press('Enter')
    await page.waitForFunction(`document.querySelector('#key-note').textContent === 'the key is not valid'`)
    await page.keyboard.type('open-sesame')
    await page.keyboard.press('Enter')
    await page.waitForSelector('#versions input')
    assert.ok(await page.evaluate(`document.querySelector('#key').hidden`))
    await choose(page, image)
    await act(page, '#run')
    assert.is((await valuesOf(page)).length, 10)
    assert.is(await textOf(page, '#check-note'), SHARES_NONE)
    await page.click('#check')
    await page.waitForSelector('#error:not([hidden])')
    assert.is(await textOf(page, '#error'), SHARES_NONE)
    assert.equal(await page.evaluate(`[localStorage.length, sessionStorage.length, document.cookie]`), [
      0,
      0,
      '',
    ])
    await page.close()
    // The browser itself writes an error for each answer 401.
    const refused = site.problems.splice(0)
    assert.ok(
      refused.every(problem => /401/.test(problem)),
      refused.join('\n'),
    )
  })

  test('everything is done with the keyboard alone', async () => {
    const page = await site.open(server)
    await page.waitForSelector('#versions input')
    await tabTo(page, 'input[name=version]:checked')
    // The arrows of a group of radio buttons choose.
    while (!/^Try changed/.test(await textOf(page, '#try-title'))) await page.keyboard.press('ArrowDown')
    await tabTo(page, 'input[name=kind]')
    await page.keyboard.press('ArrowDown')
    await tabTo(page, '#json')
    await tabTo(page, '#example')
    await page.keyboard.press('Enter')
    assert.is(await page.evaluate('document.activeElement.id'), 'json')
    await tabTo(page, '#run')
    await page.keyboard.press('Enter')
    await done(page)
    assert.is(await page.evaluate('document.activeElement.id'), 'run', 'the focus stays')
    const outline = await page.evaluate(`getComputedStyle(document.querySelector('#run')).outlineStyle`)
    assert.is(outline, 'solid', 'the focus shows')
    for (const button of ['#check', '#compare']) {
      await tabTo(page, button)
      await page.keyboard.press('Space')
      await done(page)
    }
    await tabTo(page, '#pause')
    await page.keyboard.press('Space')
    assert.is(await page.evaluate(`document.querySelector('#pause').ariaPressed`), 'true')
    await page.close()
  })

  for (const scheme of ['light', 'dark']) {
    test(`${scheme}: axe finds nothing, and 320 pixels are wide enough`, async () => {
      const page = await open('changed')
      await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: scheme }])
      await page.setViewport({ width: 320, height: 800 })
      await choose(page, image)
      for (const [button, width] of [
        ['#compare', 320],
        ['#check', 320],
        ['#run', 320],
        ['#run', 1200],
      ] as const) {
        await page.setViewport({ width, height: 800 })
        await act(page, button)
        await page.evaluate(`for (const part of document.querySelectorAll('details')) part.open = true`)
        assert.is(await page.evaluate('document.documentElement.scrollWidth'), width, `after ${button}`)
        assert.equal(await axe(page), [], `after ${button}`)
      }
      await page.close()
    })
  }

  test('nothing went wrong in the pages', () => {
    assert.equal(site.problems, [])
  })

  test.after(() => site.close())
}

test.run()
