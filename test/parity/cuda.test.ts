/** The CUDA engine on a GPU beside the CPU engine, where there is one: rules, composites, and every fixture model. */

import { readdirSync } from 'node:fs'
import { test } from 'uvu'
import { cuda } from '../../src/runtime/ort-cuda/index.ts'
import { notTried } from '../support/not-tried.ts'
import { testModels, testRules } from '../support/parity.ts'
import { MODELS } from '../support/training.ts'

const options = { device: 0, precision: 'float32' as const }
const { works, found } = await cuda.probe(options)
if (works) {
  const open = () => cuda.open(options)
  await testRules(test, open)
  testModels(test, open, readdirSync(MODELS))
} else {
  notTried(test, `cuda: ${found}`)
}

test.run()
