/** Tables as data sets: numbers, classes, text cut and filled up by a hand-made WordPiece vocabulary. */

import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { openDataset } from '../../src/data/open.ts'
import { truncated } from '../../src/data/text/tokenizer.ts'
import { assertFails, writeTree } from './files.ts'

const WORDS = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', 'a', 'good', 'bad', 'film', '##s', 'it', 'is']
const special = (id: string, type_id: number) => ({ SpecialToken: { id, type_id } })
const TOKENIZER = JSON.stringify({
  version: '1.0',
  added_tokens: [],
  normalizer: {
    type: 'BertNormalizer',
    clean_text: true,
    handle_chinese_chars: true,
    strip_accents: null,
    lowercase: true,
  },
  pre_tokenizer: { type: 'BertPreTokenizer' },
  post_processor: {
    type: 'TemplateProcessing',
    single: [special('[CLS]', 0), { Sequence: { id: 'A', type_id: 0 } }, special('[SEP]', 0)],
    pair: [
      special('[CLS]', 0),
      { Sequence: { id: 'A', type_id: 0 } },
      special('[SEP]', 0),
      { Sequence: { id: 'B', type_id: 1 } },
      special('[SEP]', 1),
    ],
    special_tokens: {
      '[CLS]': { id: '[CLS]', ids: [2], tokens: ['[CLS]'] },
      '[SEP]': { id: '[SEP]', ids: [3], tokens: ['[SEP]'] },
    },
  },
  decoder: { type: 'WordPiece', prefix: '##', cleanup: true },
  model: {
    type: 'WordPiece',
    unk_token: '[UNK]',
    continuing_subword_prefix: '##',
    max_input_chars_per_word: 100,
    vocab: Object.fromEntries(WORDS.map((word, id) => [word, id])),
  },
})

test('features and classes of a CSV', async () => {
  const root = writeTree({ 't.csv': 'a,b,label\n1,2.5,cat\n3,-4,ant\n' })
  const dataset = await openDataset(join(root, 't.csv'))
  assert.equal(dataset.classes, ['ant', 'cat'])
  assert.equal([dataset.label(0), dataset.label(1)], [1, 0])
  assert.equal((await dataset.load(1)).inputs[0]!.data, Float32Array.of(3, -4))
  const broken = writeTree({ 't.csv': 'a,label\n1,0\nx,1\n' })
  await assertFails(
    () => openDataset(join(broken, 't.csv')),
    '/t.csv: line 3, column \'a\': expected a number, found "x"',
    { root: broken },
  )
})

test('columns of numbers feed the inputs that they are named for', async () => {
  const root = writeTree({ 't.csv': 'age,kind,size,label\n3,7,1.5,0\n4,9,-2,1\n' })
  const input = (name: string, dtype: string, ...shape: (string | number)[]) => ({ name, dtype, shape })
  const choice = {
    model: [input('x', 'float32', 'n', 2), input('kind', 'int64', 'n')],
    inputColumns: { kind: ['kind'], x: ['size', 'age'] },
  }
  const dataset = await openDataset(join(root, 't.csv'), choice)
  assert.equal(
    dataset.fields.map(({ name, dims, dtype }) => [name, dims, dtype]),
    [
      ['kind', [], 'int32'],
      ['x', [2], 'float32'],
    ],
  )
  assert.equal(
    (await dataset.load(1)).inputs.map(({ data }) => [...data]),
    [[9], [-2, 4]],
  )
  await assertFails(
    () => openDataset(join(root, 't.csv'), { ...choice, inputColumns: { kind: ['size'] } }),
    '/t.csv: line 2, column \'size\': expected a whole number, found "1.5"',
    { root },
  )
})

test('texts are tokenised, cut and filled up; words carry their labels on their first token', async () => {
  const root = writeTree({
    'tokenizer.json': TOKENIZER,
    't.jsonl': '{"text":"It is a good film","label":1}\n{"text":"bad films","label":0}\n',
    'ner.jsonl': '{"tokens":["films","is","good"],"ner_tags":["B","O","O"]}\n',
  })
  const tokenizer = join(root, 'tokenizer.json')
  const dataset = await openDataset(join(root, 't.jsonl'), { tokenizer, maxLength: 6 })
  const field = (name: string) => dataset.fields.findIndex(other => other.name === name)
  const of = async (name: string, row: number) => [...(await dataset.load(row)).inputs[field(name)]!.data]
  assert.equal(await of('input_ids', 0), [2, 9, 10, 4, 5, 3])
  assert.equal(await of('input_ids', 1), [2, 6, 7, 8, 3, 0])
  assert.equal(await of('attention_mask', 1), [1, 1, 1, 1, 1, 0])
  const ner = await openDataset(join(root, 'ner.jsonl'), { tokenizer, maxLength: 7 })
  assert.equal(ner.target(0), Int32Array.of(-100, 0, -100, 1, 1, -100, -100))
  assert.equal(ner.classes, ['B', 'O'])
})

test('the longer of two texts is cut first', () => {
  assert.equal(
    [truncated([10, 3], 9), truncated([10, 10], 9), truncated([3, 10], 9), truncated([2, 3], 9)],
    [
      [6, 3],
      [4, 5],
      [3, 6],
      [2, 3],
    ],
  )
})

test.run()
