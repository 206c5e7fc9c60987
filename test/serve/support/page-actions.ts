/** What a person does in the page of the server and sees there, and what should be seen. */

import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import type { Page } from 'puppeteer-core'
import * as assert from 'uvu/assert'
import { createPipeline } from '../../../src/data/pipeline.ts'
import { defaultTransforms } from '../../../src/data/transforms-default.ts'
import type { PresetName } from '../../../src/data/transforms.ts'
import { softmax } from '../../../src/serve/page/classes.ts'

/** The pixels of a digit as training prepares them. */
export function prepare(pixels: Uint8Array, preset?: PresetName): Float32Array {
  const transforms = defaultTransforms({ channels: 1, height: 28, width: 28 }, undefined, preset)
  const dims = [28, 28, 1]
  const pipeline = createPipeline(transforms, {
    ...{ name: 'image', layout: 'HWC', dims, dtype: 'uint8', range: null },
  })
  const values = new Float32Array(784)
  pipeline.writeInput({ data: pixels, dims, layout: 'HWC' }, pipeline.draw(null), values, 0)
  return values
}

/** What is used of puppeteer's handle, whose own type needs those of the DOM. */
interface FileInput {
  uploadFile(path: string): Promise<void>
}

export async function choose(page: Page, path: string): Promise<void> {
  const input = await page.waitForSelector('#image-file')
  await (input as unknown as FileInput).uploadFile(path)
  await page.waitForSelector('#preview:not([hidden])')
}

export async function enter(page: Page, selector: string, text: string): Promise<void> {
  await page.evaluate(`document.querySelector('${selector}').value = ${JSON.stringify(text)}`)
}

/** Presses a button and waits for the result; an error fails. */
export async function act(page: Page, button: string): Promise<void> {
  await page.click(button)
  await done(page)
}

export async function done(page: Page): Promise<void> {
  await page.waitForFunction(`!document.querySelector('#result').hasAttribute('aria-busy')`)
  assert.is(
    await page.evaluate(`document.querySelector('#error').hidden`),
    true,
    await textOf(page, '#error'),
  )
}

export async function textOf(page: Page, selector: string): Promise<string> {
  return (await page.evaluate(`document.querySelector('${selector}').textContent`)) as string
}

/** The cells of the table of an output, row by row. */
export async function tableOf(page: Page): Promise<string[][]> {
  return (await page.evaluate(`[...document.querySelectorAll('.output tbody tr')].map(row =>
    [...row.children].map(cell => cell.textContent))`)) as string[][]
}

/** The first values of the output. */
export async function valuesOf(page: Page): Promise<string[]> {
  return (await textOf(page, '.values')).split(', ')
}

export const digits = (value: number) => String(Number(value.toPrecision(6)))
export const share = (value: number) => `${(100 * value).toFixed(2)} %`

/** The rows that the page should show of logits. */
export function topRows(logits: Float32Array, labels: readonly string[]): string[][] {
  const probabilities = softmax(Float64Array.from(logits))
  const order = [...logits.keys()].sort((a, b) => logits[b]! - logits[a]!)
  return order.slice(0, 5).map(i => [`${labels[i]!} (${i})`, share(probabilities[i]!), digits(logits[i]!)])
}

/** Presses Tab until the focus is at the element. */
export async function tabTo(page: Page, selector: string): Promise<void> {
  for (let i = 0; i < 40; i++) {
    if (await page.evaluate(`document.activeElement.matches('${selector}')`)) return
    await page.keyboard.press('Tab')
  }
  assert.unreachable(`Tab does not reach ${selector}`)
}

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')

/** What axe-core has to say against the page. */
export async function axe(page: Page): Promise<string[]> {
  await page.evaluate(AXE)
  const { passes, violations } = (await page.evaluate(`axe.run(document).then(({ passes, violations }) => ({
    passes: passes.length,
    violations: violations.flatMap(({ id, nodes }) => nodes.map(({ html, failureSummary }) => [id, html, failureSummary].join(' '))),
  }))`)) as { passes: number; violations: string[] }
  assert.ok(passes > 25, `axe made only ${passes} checks`)
  return violations
}
