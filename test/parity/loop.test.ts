/**
 * The CUDA engine's programs, on the CPU provider, beside the CPU engine: every rule and composite. Fixture models are in
 * runtime/cuda/loop-training.test.ts.
 */

import { test } from 'uvu'
import { cpuLoopEngine } from '../support/cpu-loop.ts'
import { testRules } from '../support/parity.ts'

await testRules(test, () => Promise.resolve(cpuLoopEngine()))

test.run()
