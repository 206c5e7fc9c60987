/** A table as a data set: which columns are inputs, which labels, and what they become. */

import { InputError, UsageError } from '../../util/errors.ts'
import { ArrayDataset, type RowArray } from '../array-dataset.ts'
import type { TargetArray } from '../array-targets.ts'
import type { Dataset, TargetKind } from '../dataset.ts'
import { encodeTable, positions } from '../text/sequences.ts'
import { openTokenizer } from '../text/tokenizer.ts'
import { checkColumns, integerLists, listAt, listOf, numberColumns, numberOf } from './cells.ts'
import { imageColumns, TableImages } from './images.ts'
import { labelArray } from './labels.ts'
import { readTable, type Table } from './table.ts'

/** A model input as far as its data are concerned. */
export interface ModelInput {
  readonly name: string
  readonly dtype: string | null
  readonly shape: readonly (number | string | null)[]
}

export interface TableChoice {
  /** The inputs of the model that the data are for: they say which columns and sequences are needed, and how long. */
  readonly model?: readonly ModelInput[]
  readonly textColumns?: readonly string[]
  readonly labelColumns?: readonly string[]
  /** Path of tokenizer.json, or of its folder. */
  readonly tokenizer?: string
  readonly maxLength?: number
  /** Columns of numbers of each model input, by its name. */
  readonly inputColumns?: Readonly<Record<string, readonly string[]>>
  readonly targetKind?: TargetKind
  readonly ignoreIndex?: number
}

const TEXTS = ['text', 'sentence', 'tokens', 'words', 'review', 'content']
const PAIRS: readonly (readonly [string, string])[] = [
  ['text', 'text_pair'],
  ['sentence1', 'sentence2'],
  ['premise', 'hypothesis'],
  ['question', 'context'],
]
const LABELS = ['label', 'labels', 'target', 'targets', 'class', 'y', 'ner_tags', 'tags', 'score']

/** Reads the files of one part. */
export async function openTable(
  name: string,
  paths: readonly string[],
  choice: TableChoice,
  classNames: readonly string[] | undefined,
): Promise<Dataset> {
  const table = await readTable(name, paths)
  const labelColumns = choice.labelColumns ?? guessLabels(table)
  checkColumns(table, '--label-columns', labelColumns)
  const known = classNames ?? table.classNames[labelColumns[0]!]
  const names = known ? { classNames: known } : {}
  const kind = choice.targetKind ? { kind: choice.targetKind } : {}
  const targets = () => labelArray(table, { columns: labelColumns, ...kind, ...names })
  const options = choice.ignoreIndex === undefined ? {} : { ignoreIndex: choice.ignoreIndex }
  const asked = choice.inputColumns ?? choice.tokenizer ?? choice.textColumns
  const images = asked === undefined ? imageColumns(table) : []
  if (images.length > 0) return new TableImages(table, images, targets(), options)
  const { inputs, labels } = await inputsOf(table, labelColumns, choice, known)
  return new ArrayDataset(name, inputs, labels ?? targets(), { layout: 'plain', ...options })
}

function guessLabels(table: Table): string[] {
  const found = LABELS.find(name => table.columns.includes(name))
  if (found !== undefined) return [found]
  throw new InputError(
    `${table.name}: expected a column of labels (${LABELS.slice(0, 4).join(', ')}), found ${table.columns.join(', ')}`,
    { cure: 'name it with --label-columns' },
  )
}

interface Inputs {
  readonly inputs: readonly RowArray[]
  readonly labels: TargetArray | null
}

async function inputsOf(
  table: Table,
  labelColumns: readonly string[],
  choice: TableChoice,
  classNames: readonly string[] | undefined,
): Promise<Inputs> {
  const { model, inputColumns, tokenizer } = choice
  if (inputColumns) {
    const inputs = Object.entries(inputColumns).map(([name, columns]) => {
      checkColumns(table, '--input', columns)
      const input = model?.find(other => other.name === name)
      const array = numberColumns(table, name, columns, input?.dtype?.includes('int') ?? false)
      // One number a sample, where the model has no axis for more.
      return input?.shape.length === 1 && columns.length === 1
        ? { ...array, dims: [table.rows.length] }
        : array
    })
    return { inputs, labels: null }
  }
  const length = choice.maxLength ?? lengthOf(model)
  if (tokenizer !== undefined) {
    const { ignoreIndex } = choice
    const encoded = encodeTable(table, await openTokenizer(tokenizer), {
      textColumns: choice.textColumns ?? guessTexts(table),
      ...{ labelColumn: labelColumns[0]!, length },
      ...(ignoreIndex === undefined ? {} : { ignoreIndex }),
      ...(classNames ? { classNames } : {}),
    })
    return { ...encoded, inputs: wanted(encoded.inputs, model) }
  }
  if (choice.textColumns) throw noTokenizer(table, choice.textColumns)
  if (table.columns.includes('input_ids')) return { inputs: tokenised(table, length, model), labels: null }
  const others = table.columns.filter(column => !labelColumns.includes(column))
  const numeric = others.filter(column => numberOf(table.rows[0]![column]) !== null)
  if (numeric.length < others.length)
    throw noTokenizer(
      table,
      others.filter(name => !numeric.includes(name)),
    )
  if (numeric.length === 0) throw new InputError(`${table.name}: there are no columns beside the labels`)
  return { inputs: [numberColumns(table, '0', numeric)], labels: null }
}

function noTokenizer(table: Table, columns: readonly string[]): UsageError {
  return new UsageError(
    `${table.name}: column '${columns[0]!}' holds no numbers: text needs a tokenizer, and columns of features are named`,
    { cure: 'give --tokenizer tokenizer.json for text, or --input name=a,b for numbers' },
  )
}

function guessTexts(table: Table): readonly string[] {
  const pair = PAIRS.find(names => names.every(name => table.columns.includes(name)))
  if (pair) return pair
  const found = TEXTS.find(name => table.columns.includes(name))
  if (found !== undefined) return [found]
  throw new InputError(
    `${table.name}: expected a column of text (${TEXTS.slice(0, 4).join(', ')}), found ${table.columns.join(', ')}`,
    { cure: 'name it with --text-columns' },
  )
}

/** The sequence length that a model insists on. */
function lengthOf(model: readonly ModelInput[] | undefined): number | null {
  const ids = model?.find(({ name }) => name === 'input_ids') ?? model?.[0]
  const length = ids?.shape[1]
  return typeof length === 'number' && length > 0 ? length : null
}

/** Those of the sequences that the model takes: all if it is unknown, the ids if its inputs have other names. */
function wanted(inputs: readonly RowArray[], model: readonly ModelInput[] | undefined): readonly RowArray[] {
  if (!model) return inputs
  const taken = inputs.filter(({ name }) => model.some(input => input.name === name))
  return taken.length > 0 ? taken : [{ ...inputs[0]!, name: '0' }]
}

/** Columns that hold what a tokenizer gave. */
function tokenised(
  table: Table,
  fixed: number | null,
  model: readonly ModelInput[] | undefined,
): readonly RowArray[] {
  const ids = table.rows.map((_, i) => listAt(table, i, 'input_ids', 'a list of whole numbers').length)
  const length = fixed ?? ids.reduce((longest, count) => Math.max(longest, count), 1)
  const optional = ['attention_mask', 'token_type_ids', 'position_ids']
  const has = (column: string) => table.columns.includes(column) && listOf(table.rows[0]![column]) !== null
  const inputs = ['input_ids', ...optional]
    .filter(has)
    .map(column => integerLists(table, column, column, length, 0))
  if (!has('attention_mask')) {
    const data = Int32Array.from({ length: ids.length * length }, (_, at) =>
      Number(at % length < ids[Math.floor(at / length)]!),
    )
    inputs.push({ name: 'attention_mask', dims: [ids.length, length], data })
  }
  if (!has('token_type_ids'))
    inputs.push({
      name: 'token_type_ids',
      dims: [ids.length, length],
      data: new Int32Array(ids.length * length),
    })
  if (!has('position_ids')) inputs.push(positions(ids.length, length))
  return wanted(inputs, model)
}
