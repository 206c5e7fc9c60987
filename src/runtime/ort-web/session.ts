/** Sessions of onnxruntime-web, in the thread that opens them: training belongs in a Web Worker. */

import type * as Ort from 'onnxruntime-web'
import { InputError, invariant, messageOf, UnsupportedError } from '../../util/errors.ts'
import type { Tensor } from '../../tensor/tensor.ts'
import type { Feeds, ModelSource, Port, Runner, SessionOptions } from '../engine.ts'
import type { OrtModule } from '../ort/load.ts'
import { fromWire, toWire } from '../ort/messages.ts'
import { dtypeOfOrt, fromOrt, toOrt } from '../ort/tensors.ts'
import type { LoadedOrt } from './load.ts'

export type Provider = Ort.InferenceSession.ExecutionProviderConfig

/** How a session is opened, beside what callers of an engine choose. */
export interface WebSessionSetup {
  readonly provider: Provider
  /** Outputs that stay on the device. */
  readonly onDevice?: readonly string[]
  /** Data files of the weights. */
  readonly dataFiles?: readonly DataFile[]
}

/** A file beside a model, under the name that the model has for it. */
export interface DataFile {
  readonly path: string
  readonly data: Uint8Array
}

export async function openWebSession(
  { ort, inTurn }: LoadedOrt,
  model: ModelSource,
  { provider, onDevice = [], dataFiles = [] }: WebSessionSetup,
  { optimization = 'all', memoryPattern = true }: SessionOptions = {},
): Promise<Ort.InferenceSession> {
  if (typeof model === 'string') {
    throw new UnsupportedError(`onnxruntime-web: cannot open the path ${model}, only models in memory`)
  }
  const options: Ort.InferenceSession.SessionOptions = {
    executionProviders: [provider],
    graphOptimizationLevel: optimization,
    enableMemPattern: memoryPattern,
    logSeverityLevel: 3,
    ...(dataFiles.length === 0 ? {} : { externalData: dataFiles }),
    ...(onDevice.length === 0
      ? {}
      : { preferredOutputLocation: Object.fromEntries(onDevice.map(name => [name, 'gpu-buffer' as const])) }),
  }
  return inTurn(() => named(ort.InferenceSession.create(model, options)))
}

/** Opens a model for inference. */
export async function openWebRunner(
  loaded: LoadedOrt,
  model: ModelSource,
  setup: WebSessionSetup,
  options?: SessionOptions,
): Promise<Runner> {
  const session = await openWebSession(loaded, model, setup, options)
  let open = true
  return {
    inputs: session.inputMetadata.map(portOf),
    outputs: session.outputMetadata.map(portOf),
    run(feeds, outputs) {
      return loaded.inTurn(async () => {
        invariant(open, 'the session was closed')
        const results = await named(
          session.run(bindTensors(loaded, feeds), outputs ? [...outputs] : [...session.outputNames]),
        )
        const tensors = Object.entries(results).map(
          ([name, tensor]) => [name, takeTensor(tensor, name)] as const,
        )
        return new Map(tensors)
      })
    },
    async close() {
      if (!open) return
      open = false
      await loaded.inTurn(() => session.release())
    },
  }
}

/** Our tensors as onnxruntime's: it copies them, so their memory is free after the run. */
export function bindTensors({ ort }: LoadedOrt, feeds: Feeds): Record<string, Ort.Tensor> {
  // Both packages have the Tensor class of onnxruntime-common.
  const common = ort as unknown as OrtModule
  return Object.fromEntries([...feeds].map(([name, tensor]) => [name, toOrt(common, toWire(tensor), name)]))
}

function takeTensor(tensor: Ort.Tensor, name: string): Tensor {
  return fromWire(fromOrt(tensor, name))
}

/** The result of a call into ONNX Runtime; failures get a name. */
export async function named<T>(call: Promise<T>): Promise<T> {
  try {
    return await call
  } catch (error) {
    throw new InputError(`onnxruntime-web: ${messageOf(error)}`, { cause: error })
  }
}

function portOf(metadata: Ort.InferenceSession.ValueMetadata): Port {
  if (!metadata.isTensor) return { name: metadata.name, dtype: null, shape: [] }
  // An unknown dimension without a name is −1, and some builds give its 32 bits as a number without sign.
  const shape = metadata.shape.map(dim =>
    typeof dim === 'number' && (dim < 0 || dim >= 2 ** 31) ? null : dim,
  )
  return { name: metadata.name, dtype: dtypeOfOrt(metadata.type), shape }
}
