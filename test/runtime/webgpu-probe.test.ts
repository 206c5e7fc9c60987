/** What the probe of WebGPU reports: the adapter, and the cure for each platform. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { adapterOf } from '../../src/runtime/ort-webgpu/adapter.ts'
import type { EngineReport } from '../../src/runtime/engines.ts'
import { webgpu } from '../../src/runtime/ort-webgpu/index.ts'
import { cureFor } from '../../src/runtime/ort-webgpu/probe.ts'
import { errorOf } from '../support/errors.ts'
import { swiftshader } from '../support/webgpu.ts'

const loader = (name: string) =>
  `DRIVER:              <Device>\nDRIVER:                  Using "${name}" with driver: "libsome.so"\n\n`

test('the Vulkan loader tells the adapter', () => {
  assert.equal(adapterOf(loader('NVIDIA H100 80GB HBM3'), {}), {
    name: 'NVIDIA H100 80GB HBM3',
    software: false,
  })
  for (const name of ['SwiftShader Device (Subzero)', 'llvmpipe (LLVM 15.0.6, 256 bits)']) {
    assert.equal(adapterOf(loader(name), {}), { name, software: true })
  }
})

test('an old loader tells nothing: then the driver that the environment forces does', () => {
  const forced = (file: string) => adapterOf('', { VK_ICD_FILENAMES: file }).software
  assert.equal(adapterOf('', {}), { name: null, software: false })
  assert.is(forced('/usr/share/vulkan/icd.d/lvp_icd.x86_64.json'), true)
  assert.is(forced('/usr/lib/chromium/vk_swiftshader_icd.json'), true)
  assert.is(forced('/usr/share/vulkan/icd.d/nvidia_icd.json'), false)
})

test('every platform has a cure', () => {
  assert.match(cureFor('linux', 'x64'), 'apt install libvulkan1 mesa-vulkan-drivers')
  assert.match(cureFor('linux', 'arm64'), 'no WebGPU provider for linux-arm64')
  assert.match(cureFor('darwin', 'x64'), 'no binary for Macs with Intel processors')
  assert.match(cureFor('darwin', 'arm64'), 'update macOS')
  assert.match(cureFor('win32', 'x64'), 'Direct3D 12')
  assert.match(cureFor('freebsd', 'x64'), 'freebsd-x64')
})

test('a second device is refused', async () => {
  const error = await errorOf(webgpu.open({ device: 1 }))
  assert.is(error.message, '--engine: webgpu has no choice of device, found webgpu:1')
  assert.is(error.exitCode, 2)
})

/** Probes with this driver alone. */
async function probeOn(driver: string): Promise<EngineReport> {
  const before = process.env['VK_DRIVER_FILES']
  process.env['VK_DRIVER_FILES'] = driver
  try {
    return await webgpu.probe({ device: 0 })
  } finally {
    if (before === undefined) delete process.env['VK_DRIVER_FILES']
    else process.env['VK_DRIVER_FILES'] = before
  }
}

test('without a driver the report says what is missing', async () => {
  if (process.platform !== 'linux') return
  const report = await probeOn('/nonexistent/icd.json')
  assert.is(report.works, false)
  assert.is(report.accelerated, false)
  assert.is(report.cure, cureFor(process.platform, process.arch))
  if (process.arch === 'x64') assert.match(report.found, 'Failed to get a WebGPU adapter')
})

const found = swiftshader()
test(
  found ? 'SwiftShader works and is not an accelerator' : 'NOT TRIED: there is no SwiftShader here',
  async () => {
    if (!found) return
    const report = await probeOn(found.env.VK_DRIVER_FILES)
    assert.match(
      report.found,
      /^a small model ran on SwiftShader.* and gave the right numbers, a software adapter: it computes on the CPU$/,
    )
    assert.equal([report.works, report.cure, report.accelerated], [true, null, false])
  },
)

test.run()
