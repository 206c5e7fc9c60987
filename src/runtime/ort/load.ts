/** Loads onnxruntime-node, with its telemetry off: the decision is latched when the library is loaded. */

import type * as Ort from 'onnxruntime-node'
import { EnvironmentError, messageOf } from '../../util/errors.ts'

export type OrtModule = typeof Ort

export async function loadOrt(): Promise<OrtModule> {
  process.env['ORT_DISABLE_TELEMETRY'] = '1'
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
