/**
 * The WebGPU engine on SwiftShader beside the CPU engine: every gradient rule and composite, and two fixture models; operators
 * and their gradients against PyTorch. In one process, because these share most of their shaders, whose compiling takes the time.
 */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { webgpuEngine } from '../../src/runtime/ort-webgpu/engine.ts'
import { checkOpCases, opCases } from '../support/op-fixture.ts'
import { testModels, testRules } from '../support/parity.ts'
import { withSwiftshader } from '../support/webgpu.ts'

const open = () => Promise.resolve(webgpuEngine())

await withSwiftshader(test, async () => {
  await testRules(test, open)
  testModels(test, open, ['mlp-ts', 'bn_cnn-dynamo'])

  test('operators and their gradients agree with PyTorch', async () => {
    const problems = await checkOpCases(opCases(), webgpuEngine())
    assert.ok(problems.size > 150, `${problems.size} cases`)
    assert.equal(
      [...problems].flatMap(([fixture, problem]) => (problem ? [`${fixture.name}: ${problem.message}`] : [])),
      [],
    )
  })
})

test.run()
