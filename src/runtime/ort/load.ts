/** Loads onnxruntime-node; only session threads do, after the main thread has switched telemetry off (telemetry.ts). */

import type * as Ort from 'onnxruntime-node'
import { EnvironmentError, messageOf } from '../../util/errors.ts'

export type OrtModule = typeof Ort

export async function loadOrt(): Promise<OrtModule> {
  try {
    const module = (await import('onnxruntime-node')) as OrtModule & { default?: OrtModule }
    return module.default ?? module
  } catch (error) {
    throw new EnvironmentError(`onnxruntime-node could not be loaded: ${messageOf(error)}`, {
      cause: error,
      cure: 'run `npm install onnxruntime-node`; `swa-onnx doctor` tells what this machine lacks',
    })
  }
}
