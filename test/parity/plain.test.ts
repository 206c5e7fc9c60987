/** The default lowerings beside the CPU engine's own: rules, composites, and a model of each family. */

import { test } from 'uvu'
import { testModels, testRules } from '../support/parity.ts'
import { plainEngine } from '../support/plain-engine.ts'
import { FAMILIES } from '../support/training.ts'

const open = () => Promise.resolve(plainEngine())

await testRules(test, open)
testModels(test, open, FAMILIES)

test.run()
