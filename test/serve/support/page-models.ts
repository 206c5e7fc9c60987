/** Models and inputs for the tests of the page. */

import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import sharp from 'sharp'
import { Builder } from '../../../src/ir/builder.ts'
import { Graph, Model } from '../../../src/ir/graph.ts'
import { Value, type Dim } from '../../../src/ir/value.ts'
import { loadModel, saveModel } from '../../../src/serde/index.ts'
import type { DType } from '../../../src/tensor/dtype.ts'
import { Tensor } from '../../../src/tensor/tensor.ts'

export const DIGITS = join(import.meta.dirname, '../../../fixtures/demo/digits_cnn.onnx')

/** Labels for ten classes. */
export const LABELS = ['zero', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine']

/** The digit classifier with weights a tenth larger, most of them in a data file, and with names of its classes. */
export async function writeChanged(folder: string): Promise<string> {
  mkdirSync(folder)
  const file = await loadModel(DIGITS)
  for (const value of file.model.graph.initializers) {
    const tensor = await value.tensor!.load()
    if (tensor.dtype !== 'float32') continue
    const larger = (tensor.view() as Float32Array).map(number => number * 1.1)
    value.tensor = Tensor.of('float32', tensor.dims, larger)
  }
  const path = join(folder, 'model.onnx')
  await saveModel(file.model, path, { externalData: { location: 'model.onnx.data', threshold: 256 } })
  await file.close()
  writeFileSync(join(folder, 'labels.txt'), LABELS.join('\n'))
  return path
}

const WORDS = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', 'a', 'good', 'film']

/** Token numbers where the mask is 1: what a transformer is given, to be looked at. */
export async function writeText(folder: string): Promise<string> {
  mkdirSync(folder)
  const op = new Builder(['input_ids', 'attention_mask'])
  const graph = new Graph('text')
  const [ids, mask] = ['input_ids', 'attention_mask'].map(name =>
    Value.typed(name, 'int64', ['batch', 'tokens']),
  )
  graph.inputs = [ids!, mask!]
  const [seen] = op.emit('Mul', graph.inputs, [{ shape: [] }])
  graph.outputs = [Object.assign(seen!, { name: 'seen', type: ids!.type })]
  graph.nodes = op.nodes
  const path = join(folder, 'model.onnx')
  await saveModel(new Model(graph, 10, new Map([['', 17]])), path)
  const words = Object.fromEntries(WORDS.map((word, id) => [word, id]))
  const special = (id: string) => ({ SpecialToken: { id, type_id: 0 } })
  const tokens = Object.fromEntries(
    ['[CLS]', '[SEP]'].map(id => [id, { id, ids: [words[id]], tokens: [id] }]),
  )
  writeFileSync(
    join(folder, 'tokenizer.json'),
    JSON.stringify({
      version: '1.0',
      added_tokens: [],
      normalizer: { type: 'BertNormalizer', clean_text: true, handle_chinese_chars: true, lowercase: true },
      pre_tokenizer: { type: 'BertPreTokenizer' },
      post_processor: {
        type: 'TemplateProcessing',
        single: [special('[CLS]'), { Sequence: { id: 'A', type_id: 0 } }, special('[SEP]')],
        pair: [],
        special_tokens: tokens,
      },
      decoder: { type: 'WordPiece', prefix: '##', cleanup: true },
      model: {
        ...{ type: 'WordPiece', unk_token: '[UNK]', continuing_subword_prefix: '##' },
        ...{ max_input_chars_per_word: 100, vocab: words },
      },
    }),
  )
  return path
}

/** Gives its input back; by default two numbers a sample. */
export async function writeIdentity(
  path: string,
  dtype: DType,
  shape: readonly Dim[] = ['batch', 2],
): Promise<string> {
  const op = new Builder(['x'])
  const graph = new Graph('identity')
  graph.inputs = [Value.typed('x', dtype, shape)]
  const [y] = op.emit('Identity', graph.inputs, [{ shape: [] }])
  graph.outputs = [Object.assign(y!, { name: 'y', type: graph.inputs[0]!.type })]
  graph.nodes = op.nodes
  await saveModel(new Model(graph, 10, new Map([['', 17]])), path)
  return path
}

/** A gray image of 28x28; pixel p is (31 + 7 p) mod 256. */
export async function writeImage(path: string): Promise<Uint8Array> {
  const pixels = Uint8Array.from({ length: 784 }, (_, p) => (31 + 7 * p) & 255)
  await sharp(pixels, { raw: { width: 28, height: 28, channels: 1 } })
    .png()
    .toFile(path)
  return pixels
}
