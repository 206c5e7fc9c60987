/** The CUDA engine's programs, on the CPU provider, beside the CPU engine: rules, composites, and every fixture model. */

import { readdirSync } from 'node:fs'
import { test } from 'uvu'
import { cpuLoopEngine } from '../support/cpu-loop.ts'
import { testModels, testRules } from '../support/parity.ts'
import { MODELS } from '../support/training.ts'

const open = () => Promise.resolve(cpuLoopEngine())

await testRules(test, open)
testModels(test, open, readdirSync(MODELS))

test.run()
