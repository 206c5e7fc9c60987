/** Runs models exactly as written (no graph optimisation) in this process. */

import type { Tensor as OrtTensor } from 'onnxruntime-node'
import type { Model } from '../../../src/ir/graph.ts'
import { serializeModel } from '../../../src/serde/index.ts'
import type { DType } from '../../../src/tensor/dtype.ts'
import { Tensor, type TypedArray } from '../../../src/tensor/tensor.ts'

export type Feeds = ReadonlyMap<string, Tensor>

export interface OpenModel {
  run(feeds: Feeds, outputs?: readonly string[]): Promise<Map<string, Tensor>>
  close(): Promise<void>
}

/** Opens serialized bytes; float16 shows its bits, as everywhere. */
export async function openBytes(bytes: Uint8Array): Promise<OpenModel> {
  process.env.ORT_DISABLE_TELEMETRY = '1'
  const ort = await import('onnxruntime-node')
  const session = await ort.InferenceSession.create(bytes, {
    intraOpNumThreads: 1,
    logSeverityLevel: 3,
    graphOptimizationLevel: 'disabled',
  })
  return {
    run: async (feeds, outputs) => {
      const inputs = [...feeds].map(([name, tensor]): [string, OrtTensor] => [
        name,
        new ort.Tensor(tensor.dtype as 'float32', tensor.view() as Float32Array, tensor.dims),
      ])
      const results = await session.run(Object.fromEntries(inputs), [...(outputs ?? session.outputNames)])
      return new Map(
        Object.entries(results).map(([name, output]) => [
          name,
          Tensor.of(output.type as DType, output.dims, output.data as TypedArray),
        ]),
      )
    },
    close: () => session.release(),
  }
}

/** Opens, runs once, releases. */
export async function runModel(model: Model, feeds: Feeds): Promise<Map<string, Tensor>> {
  const opened = await openBytes(await serializeModel(model))
  try {
    return await opened.run(feeds)
  } finally {
    await opened.close()
  }
}
