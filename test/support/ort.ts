/** Runs small models with onnxruntime-node in this process, for tests. */

import type { InferenceSession, Tensor as OrtTensor } from 'onnxruntime-node'
import type { Model } from '../../src/ir/graph.ts'
import { serializeModel } from '../../src/serde/index.ts'
import type { DType } from '../../src/tensor/dtype.ts'
import { Tensor, type TypedArray } from '../../src/tensor/tensor.ts'

export type Feeds = Readonly<Record<string, Tensor>>

export interface OpenModel {
  /** All graph outputs by name. */
  run(feeds: Feeds): Promise<Record<string, Tensor>>
  close(): Promise<void>
}

/** onnxruntime's names of element types differ from ours for none of the types that tests feed. */
export async function openModel(model: Model): Promise<OpenModel> {
  process.env.ORT_DISABLE_TELEMETRY = '1'
  const ort = await import('onnxruntime-node')
  const session = await ort.InferenceSession.create(await serializeModel(model), {
    intraOpNumThreads: 1,
    logSeverityLevel: 3,
  } satisfies InferenceSession.SessionOptions)
  return {
    run: async feeds => {
      const inputs = Object.entries(feeds).map(([name, tensor]): [string, OrtTensor] => [
        name,
        new ort.Tensor(tensor.dtype as 'float32', tensor.view() as Float32Array, tensor.dims),
      ])
      const outputs = await session.run(Object.fromEntries(inputs))
      return Object.fromEntries(
        Object.entries(outputs).map(([name, output]) => [
          name,
          Tensor.of(output.type as DType, output.dims, output.data as TypedArray),
        ]),
      )
    },
    close: () => session.release(),
  }
}

/** Loads, runs once and releases. */
export async function runModel(model: Model, feeds: Feeds): Promise<Record<string, Tensor>> {
  const session = await openModel(model)
  try {
    return await session.run(feeds)
  } finally {
    await session.close()
  }
}
