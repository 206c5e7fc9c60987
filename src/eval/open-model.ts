/** A model in memory -> a runner: as bytes, or by way of a file where one message does not hold its weights. */

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Model } from '../ir/graph.ts'
import type { Engine, Runner, SessionOptions } from '../runtime/engine.ts'
import { saveModel, serializeModel } from '../serde/index.ts'

/** Weights of more than this are opened from a file: a protobuf message ends at 2 GiB, and copies of bytes add up. */
const MOST_BYTES = 2 ** 30

export async function openModel(engine: Engine, model: Model, options: SessionOptions): Promise<Runner> {
  const bytes = model.graph.initializers.reduce((sum, { tensor }) => sum + (tensor?.byteLength ?? 0), 0)
  if (bytes <= MOST_BYTES) return engine.openRunner(await serializeModel(model), options)
  const folder = await mkdtemp(join(tmpdir(), 'swa-onnx-'))
  const remove = () => rm(folder, { recursive: true, force: true })
  try {
    const path = join(folder, 'model.onnx')
    await saveModel(model, path, { externalData: { location: 'model.onnx.data' } })
    const runner = await engine.openRunner(path, options)
    const close = async () => {
      await runner.close()
      await remove()
    }
    return { inputs: runner.inputs, outputs: runner.outputs, run: (...feeds) => runner.run(...feeds), close }
  } catch (error) {
    await remove()
    throw error
  }
}
