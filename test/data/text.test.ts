/** Text as Hugging Face's transformers encodes it: WordPiece, byte-level BPE and Unigram, sentences, pairs and words. */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { Dataset } from '../../src/data/dataset.ts'
import { openDataset } from '../../src/data/open.ts'
import { writeTree } from './files.ts'

const FOLDER = join(import.meta.dirname, '../../fixtures/data/tables')

type Encoded = Readonly<Record<'input_ids' | 'attention_mask' | 'token_type_ids', number[][]>>

const { sentences, pairs, words, tokenizers } = JSON.parse(
  readFileSync(join(FOLDER, 'texts.json'), 'utf8'),
) as {
  readonly sentences: string[]
  readonly pairs: [number, number][]
  readonly words: string[][]
  readonly tokenizers: Readonly<
    Record<
      string,
      {
        readonly single: Readonly<Record<string, Encoded>>
        readonly pair: Readonly<Record<string, Encoded>>
        readonly words: { readonly input_ids: number[][]; readonly word_ids: (number | null)[][] }
      }
    >
  >
}

const rows = (list: readonly object[]) => list.map(row => JSON.stringify(row)).join('\n')

async function column(dataset: Dataset, name: string): Promise<number[][]> {
  const field = dataset.fields.findIndex(other => other.name === name)
  return Promise.all(
    Array.from({ length: dataset.length }, async (_, i) => [...(await dataset.load(i)).inputs[field]!.data]),
  )
}

for (const [kind, expected] of Object.entries(tokenizers)) {
  const tokenizer = join(FOLDER, kind)

  test(`${kind}: sentences and pairs, cut and filled up`, async () => {
    const root = writeTree({
      'single.jsonl': rows(sentences.map((text, i) => ({ text, label: i % 2 }))),
      'pair.jsonl': rows(
        pairs.map(([a, b]) => ({ sentence1: sentences[a], sentence2: sentences[b], label: 0 })),
      ),
    })
    for (const form of ['single', 'pair'] as const) {
      for (const [length, encoded] of Object.entries(expected[form])) {
        const dataset = await openDataset(join(root, `${form}.jsonl`), {
          tokenizer,
          maxLength: Number(length),
        })
        for (const name of Object.keys(encoded) as (keyof Encoded)[])
          assert.equal(await column(dataset, name), encoded[name], `${form}, ${length}, ${name}`)
      }
    }
  })

  test(`${kind}: labels of words stand at their first tokens`, async () => {
    const root = writeTree({
      'ner.jsonl': rows(words.map(tokens => ({ tokens, ner_tags: tokens.map((_, i) => i) }))),
    })
    const dataset = await openDataset(join(root, 'ner.jsonl'), { tokenizer, maxLength: 16 })
    assert.equal(await column(dataset, 'input_ids'), expected.words.input_ids)
    expected.words.word_ids.forEach((owners, i) => {
      const labels = owners.map((word, at) => (word === null || word === owners[at - 1] ? -100 : word))
      assert.equal([...(dataset.target(i) as Int32Array)], labels)
    })
  })
}

test.run()
