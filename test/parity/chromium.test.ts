/**
 * The engines of a browser beside the CPU engine: rules and composites on WebAssembly and on WebGPU (SwiftShader) in a
 * headless Chromium, and ten steps of fixture models. Slow.
 */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { cpuEngine } from '../../src/runtime/ort-cpu/engine.ts'
import { stepsOfReference } from '../browser/support/reference-steps.ts'
import { remoteEngine } from '../browser/support/remote-engine.ts'
import { callInPage, openSite, type Site } from '../browser/support/site.ts'
import { runSteps, type StepsResult } from '../browser/support/ten-steps.ts'
import { findChromium, NO_CHROMIUM } from '../support/chromium.ts'
import { relativeError } from '../support/close.ts'
import { notTried } from '../support/not-tried.ts'
import { testRules } from '../support/parity.ts'
import { FAMILIES, MODELS } from '../support/training.ts'

/** Models of which SwiftShader makes ten steps in seconds; bn_cnn-ts is in browser/chromium.test.ts. */
const SMALL = ['mlp-ts']
const TOLERANCE = 1e-4

async function register(site: Site): Promise<void> {
  const page = await site.open()
  await testRules(test, () => Promise.resolve(remoteEngine(page, 'wasm')))
  // The lowering is that of WebGPU in Node, where test/parity/webgpu.test.ts tries every row.
  await testRules(test, () => Promise.resolve(remoteEngine(page, 'webgpu')), { rows: 2 })
  for (const [engine, models] of [
    ['wasm', FAMILIES],
    ['webgpu', SMALL],
  ] as const) {
    for (const name of models) {
      test(`${engine}, ${name}: ten steps`, async () => {
        const request = stepsOfReference(name)
        const expected = await runSteps(cpuEngine(), readFileSync(join(MODELS, name, 'model.onnx')), request)
        const found = await callInPage<StepsResult>(page, 'stepsHere', engine, `${name}.onnx`, request)
        // Parameters and statistics as one vector each would hide small tensors; each on its own magnifies zeros.
        const whole = (weights: StepsResult['weights']) =>
          Object.keys(expected.weights).flatMap(key => weights[key]!)
        const error = relativeError(whole(found.weights), whole(expected.weights))
        assert.ok(error <= TOLERANCE, `weights after ten steps are off by ${error}`)
        assert.ok(relativeError(found.losses, expected.losses) <= TOLERANCE)
      })
    }
  }
  test('nothing went wrong in the page', () => assert.equal(site.problems, []))
  test.after(() => site.close())
}

const chromium = findChromium()
if (chromium === null) notTried(test, `browser: ${NO_CHROMIUM}`)
else
  await register(
    await openSite(
      chromium,
      Object.fromEntries(
        [...FAMILIES, ...SMALL].map(name => [`${name}.onnx`, join(MODELS, name, 'model.onnx')]),
      ),
    ),
  )

test.run()
