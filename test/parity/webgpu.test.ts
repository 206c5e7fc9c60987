/** The WebGPU engine on SwiftShader beside the CPU engine: every gradient rule and composite, and two fixture models. Slow. */

import { test } from 'uvu'
import { webgpuEngine } from '../../src/runtime/ort-webgpu/engine.ts'
import { testModels, testRules } from '../support/parity.ts'
import { withSwiftshader } from '../support/webgpu.ts'

const open = () => Promise.resolve(webgpuEngine())

await withSwiftshader(test, async () => {
  await testRules(test, open)
  testModels(test, open, ['mlp-ts', 'bn_cnn-dynamo'])
})

test.run()
