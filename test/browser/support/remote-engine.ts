/** An engine of a page, used from Node: programs are lowered here and run there. */

import type { Page } from 'puppeteer-core'
import type { WebEngineName } from '../../../src/browser/index.ts'
import type { Engine } from '../../../src/runtime/engine.ts'
import { CPU_CAPABILITIES } from '../../../src/runtime/ort-cpu/capabilities.ts'
import { lowerForWasm } from '../../../src/runtime/ort-web/engine.ts'
import { WEBGPU_CAPABILITIES } from '../../../src/runtime/ort-webgpu/capabilities.ts'
import { lowerForWebgpu } from '../../../src/runtime/ort-webgpu/lowering.ts'
import { Tensor } from '../../../src/tensor/tensor.ts'
import type { SentTensor } from './page-entry.ts'
import { callInPage } from './site.ts'

const KINDS = {
  wasm: { capabilities: CPU_CAPABILITIES, lower: lowerForWasm },
  webgpu: { capabilities: WEBGPU_CAPABILITIES, lower: lowerForWebgpu },
} as const satisfies Record<WebEngineName, Pick<Engine, 'capabilities' | 'lower'>>

/** Runs inference; it has no trainer (test/browser/chromium.test.ts trains in the page). */
export function remoteEngine(page: Page, name: WebEngineName): Engine {
  return {
    name,
    description: `${name} in a page`,
    ...KINDS[name],
    openRunner(model) {
      const base64 = Buffer.from(model as Uint8Array).toString('base64')
      return Promise.resolve({
        inputs: [],
        outputs: [],
        async run(feeds) {
          const sent = [...feeds].map(([port, { dtype, dims, data }]): SentTensor => {
            return { name: port, dtype, dims, base64: Buffer.from(data as Uint8Array).toString('base64') }
          })
          const found = await callInPage<SentTensor[]>(page, 'outputsHere', name, base64, sent)
          return new Map(
            found.map(({ name: port, dtype, dims, base64: bytes }) => {
              return [port, new Tensor(dtype, dims, new Uint8Array(Buffer.from(bytes, 'base64')))] as const
            }),
          )
        },
        close: () => Promise.resolve(),
      })
    },
    openTrainer: () => Promise.reject(new Error('a remote engine has no trainer')),
  }
}
