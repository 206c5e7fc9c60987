/** tfjs: the engine for machines whose GPU or TensorFlow tfjs-node reaches, and, in plain JavaScript, for any. */

import { SwaError, UsageError, messageOf } from '../../util/errors.ts'
import type { EngineEntry, EngineReport } from '../engines.ts'
import { tryRunner } from '../probe.ts'
import { openTfjs } from './node.ts'

export const tfjs: EngineEntry = {
  name: 'tfjs',
  async probe(): Promise<EngineReport> {
    try {
      const { engine, loaded } = await openTfjs()
      const { problem } = await tryRunner(model => engine.openRunner(model))
      const where = loaded.gpu ? 'GPU' : loaded.backend.name === 'cpu' ? 'plain JavaScript, slow' : 'CPU'
      return {
        name: 'tfjs',
        works: problem === null,
        found: [problem ?? `${loaded.package} ${loaded.backend.version} (${where})`, ...loaded.notes].join(
          '; ',
        ),
        cure: null,
        accelerated: loaded.gpu,
      }
    } catch (error) {
      const cure = error instanceof SwaError ? (error.cure ?? null) : null
      return { name: 'tfjs', works: false, found: messageOf(error), cure, accelerated: false }
    }
  },
  async open({ device }) {
    if (device !== 0) {
      throw new UsageError(`--engine tfjs:${device}: tfjs runs on the first device that it sees`, {
        cure: `write --engine tfjs and set CUDA_VISIBLE_DEVICES=${device}`,
      })
    }
    return (await openTfjs()).engine
  },
}
