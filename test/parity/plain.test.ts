/** The default lowerings beside the CPU engine's own: rules, composites, and every fixture model. */

import { readdirSync } from 'node:fs'
import { test } from 'uvu'
import { testModels, testRules } from '../support/parity.ts'
import { plainEngine } from '../support/plain-engine.ts'
import { MODELS } from '../support/training.ts'

const open = () => Promise.resolve(plainEngine())

await testRules(test, open)
testModels(test, open, readdirSync(MODELS))

test.run()
