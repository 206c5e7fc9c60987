/** From lines of text and a tokenizer to an averaged classifier, by the command line. */

import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { Model } from '../../src/ir/graph.ts'
import { saveModel } from '../../src/serde/index.ts'
import { Random } from '../../src/util/random.ts'
import { buildModel, floats, int64s, randoms } from '../passes/support/build.ts'
import { inFolder, json, ROOT } from './support/cli.ts'

const TOKENIZER = join(ROOT, 'fixtures/data/tables/wordpiece')
const LENGTH = 16
/** More than the tokenizer has. */
const VOCABULARY = 200

/** The mean of the embeddings of all tokens but padding, and a linear layer. */
function bagOfTokens(): Model {
  return buildModel({
    inputs: {
      input_ids: [{ dtype: 'int64' }, 'n', LENGTH],
      attention_mask: [{ dtype: 'int64' }, 'n', LENGTH],
    },
    weights: {
      table: randoms([VOCABULARY, 16], 1),
      w: randoms([16, 2], 2),
      b: floats([2], [0, 0]),
      last: int64s(-1),
      steps: int64s(1),
    },
    nodes: [
      ['Gather', ['table', 'input_ids'], ['rows'], { axis: 0 }],
      ['Cast', ['attention_mask'], ['mask'], { to: 1 }],
      ['Unsqueeze', ['mask', 'last'], ['column']],
      ['Mul', ['rows', 'column'], ['kept']],
      ['ReduceSum', ['kept', 'steps'], ['sum'], { keepdims: 0 }],
      ['ReduceSum', ['column', 'steps'], ['count'], { keepdims: 0 }],
      ['Div', ['sum', 'count'], ['mean']],
      ['Gemm', ['mean', 'w', 'b'], ['logits']],
    ],
    outputs: ['logits'],
  })
}

const FILLERS = ['the film', 'this', 'a week', 'old', 'script', 'hours', 'rain', 'second day']
const JUDGEMENTS = [
  ['bad', 'worse', 'difficult', 'too high'],
  ['good', 'better', 'patience', 'sang'],
] as const

/** Fillers with one judgement among them: what the label says. */
function lines(count: number, seed: number): string {
  const random = Random.of(seed)
  const pick = <T>(list: readonly T[]) => list[random.integer(list.length)]!
  const rows = Array.from({ length: count }, (_, i) => {
    const label = i % 2
    const words = Array.from({ length: 2 + random.integer(3) }, () => pick(FILLERS))
    words.splice(random.integer(words.length + 1), 0, pick(JUDGEMENTS[label]!))
    return JSON.stringify({ review: words.join(' '), label: ['negative', 'positive'][label] })
  })
  return rows.join('\n')
}

test('a text classifier learns from JSON lines', () =>
  inFolder(async folder => {
    const path = (name: string) => join(folder, name)
    await saveModel(bagOfTokens(), path('bag.onnx'))
    await writeFile(path('train.jsonl'), lines(128, 1))
    await writeFile(path('val.jsonl'), lines(64, 2))
    const data = ['--data', path('train.jsonl'), '--val', path('val.jsonl'), '--tokenizer', TOKENIZER]
    const training = '--epochs 12 --batch-size 16 --optimizer adamw --lr 0.05 --swa-lr 0.02 --engine cpu'
    const { candidates } = await json<{
      candidates: { name: string; metrics: { top1: number; samples: number } }[]
    }>(...['finetune', path('bag.onnx'), ...data, '--run', path('run'), ...training.split(' ')])
    const of = (name: string) => candidates.find(candidate => candidate.name === name)!.metrics
    assert.is(of('swa').samples, 64)
    assert.ok(of('start').top1 < 0.8, `untrained ${of('start').top1}`)
    assert.ok(of('swa').top1 > 0.95, `SWA ${of('swa').top1}`)
  }))

test.run()
