/** Texts of a table as the arrays that a transformer takes: all of one length, filled up at the end. */

import { UsageError } from '../../util/errors.ts'
import type { RowArray } from '../array-dataset.ts'
import { IGNORED, type TargetArray } from '../array-targets.ts'
import { listAt, listOf, textOf, cellError, checkColumns } from '../table/cells.ts'
import { numbered } from '../table/labels.ts'
import type { Table } from '../table/table.ts'
import type { Encoded, TextEncoder } from './tokenizer.ts'

export interface Sequences {
  readonly inputs: readonly RowArray[]
  /** Classes of tokens, where words have labels. */
  readonly labels: TargetArray | null
}

export interface SequenceChoice {
  /** One column of texts, or two of pairs, or one of lists of words. */
  readonly textColumns: readonly string[]
  readonly labelColumn: string
  /** Tokens of a sample; null: those of the longest sample, up to what the tokenizer's model takes. */
  readonly length: number | null
  readonly ignoreIndex?: number
  readonly classNames?: readonly string[]
}

/** What transformers may take beside each other; a model without an input of that name does without. */
const MOST_TOKENS = 512

export function encodeTable(table: Table, encoder: TextEncoder, choice: SequenceChoice): Sequences {
  const { textColumns } = choice
  if (textColumns.length > 2)
    throw new UsageError(`--text-columns: expected one column, or two for pairs, found ${textColumns.join()}`)
  checkColumns(table, '--text-columns', textColumns)
  const [first, second] = textColumns as [string, string | undefined]
  const most = choice.length ?? Math.min(encoder.longest ?? MOST_TOKENS, MOST_TOKENS)
  const hasWords = listOf(table.rows[0]![first]) !== null
  const encoded = table.rows.map((_, i) => {
    if (hasWords) return encoder.encodeWords(wordsAt(table, i, first), most)
    return encoder.encode(
      textOf(table, i, first),
      second === undefined ? null : textOf(table, i, second),
      most,
    )
  })
  const length = choice.length ?? encoded.reduce((longest, { ids }) => Math.max(longest, ids.length), 1)
  const array = (name: string, fill: number, of: (sample: Encoded) => readonly number[]): RowArray => {
    const data = new Int32Array(encoded.length * length).fill(fill)
    encoded.forEach((sample, i) => data.set(of(sample), i * length))
    return { name, dims: [encoded.length, length], data }
  }
  const labelled = hasWords && listOf(table.rows[0]![choice.labelColumn]) !== null
  return {
    inputs: [
      array('input_ids', encoder.padId, ({ ids }) => ids),
      array('attention_mask', 0, ({ ids }) => ids.map(() => 1)),
      array('token_type_ids', 0, ({ types }) => types),
      positions(encoded.length, length),
    ],
    labels: labelled ? tokenLabels(table, encoded, length, choice) : null,
  }
}

/** position_ids 0, 1, ... of every sample. */
export function positions(rows: number, length: number): RowArray {
  const data = Int32Array.from({ length: rows * length }, (_, at) => at % length)
  return { name: 'position_ids', dims: [rows, length], data }
}

function wordsAt(table: Table, row: number, column: string): string[] {
  return listAt(table, row, column, 'a list of words').map(word => {
    if (typeof word === 'string') return word
    throw cellError(table, row, column, 'a list of words')
  })
}

/**
 * The label of a word goes to its first token; its other tokens, special tokens and padding have none, as in the token
 * classification examples of Hugging Face's transformers.
 */
function tokenLabels(
  table: Table,
  encoded: readonly Encoded[],
  length: number,
  { labelColumn, textColumns, ignoreIndex = IGNORED, classNames }: SequenceChoice,
): TargetArray {
  const lists = table.rows.map((_, i) => {
    const words = wordsAt(table, i, textColumns[0]!).length
    const list = listAt(table, i, labelColumn, `${words} labels, one for each word`)
    if (list.length !== words) throw cellError(table, i, labelColumn, `${words} labels, one for each word`)
    return list
  })
  const whole = lists.every(list => list.every(Number.isSafeInteger))
  const names = whole ? [] : lists.flat().map(String)
  const { classes, indexOf } = numbered(table, names, whole ? [] : classNames)
  const data = new Int32Array(encoded.length * length).fill(ignoreIndex)
  encoded.forEach(({ words }, i) => {
    words!.forEach((word, at) => {
      if (word === null || word === words![at - 1]) return
      const label = lists[i]![word]
      data[i * length + at] = whole ? (label as number) : indexOf(String(label), i, labelColumn)
    })
  })
  const known = whole ? classNames : classes
  const named = known ? { classNames: known } : {}
  return { name: labelColumn, dims: [encoded.length, length], data, integer: true, kind: 'class', ...named }
}
