/** The tfjs engine on the plain JavaScript backend, in this thread: what tests can count tensors of. */

import * as core from '@tensorflow/tfjs-core'
import '@tensorflow/tfjs-backend-cpu'
import type { Engine } from '../../src/runtime/engine.ts'
import { cpuEngine } from '../../src/runtime/ort-cpu/engine.ts'
import { tfjsEngineOf } from '../../src/runtime/tfjs/engine.ts'
import type { TfModule } from '../../src/runtime/tfjs/tf.ts'

core.enableProdMode()
await core.setBackend('cpu')

export const tf = core as unknown as TfModule

export const engine: Engine = await tfjsEngineOf(tf, cpuEngine())

/** Tensors that tfjs holds. */
export function tensorCount(): number {
  return core.memory().numTensors
}
