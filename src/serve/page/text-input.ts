/** Inputs of a transformer from the tokens of a text. */

import type { Encoded } from '../../data/text/tokenizer.ts'
import { Tensor } from '../../tensor/tensor.ts'
import { DATATYPES } from '../protocol/datatypes.ts'
import type { TensorMetadata } from '../protocol/schemas.ts'
import type { Tensors } from './tensors.ts'

/** What the tokenizer says of a text. */
export interface Tokens extends Pick<Encoded, 'ids' | 'types'> {
  readonly padId: number
  /** Tokens of the whole text, which may be more than the model takes. */
  readonly total: number
}

/** Says where a text was cut; empty: it was not. */
export function cutRemark({ ids, total }: Tokens): string {
  return total === ids.length ? '' : ` Of the ${total} tokens of the text, the model takes ${ids.length}.`
}

/** The tokens that the model wants in a sample; null: any number. */
export function fixedLength(inputs: readonly TensorMetadata[]): number | null {
  const fixed = inputs.map(({ shape }) => shape[1]!).filter(length => length > 0)
  return fixed.length === 0 ? null : Math.min(...fixed)
}

/** Filled up at the end to the length that the model wants, and with copies to the number of samples that it wants. */
export function textTensors({ ids, types, padId }: Tokens, inputs: readonly TensorMetadata[]): Tensors {
  const length = fixedLength(inputs) ?? ids.length
  const filled = (values: readonly number[], fill: number) =>
    Array.from({ length }, (_, at) => values[at] ?? fill)
  const rows: Readonly<Record<string, readonly number[]>> = {
    input_ids: filled(ids, padId),
    attention_mask: filled(
      ids.map(() => 1),
      0,
    ),
    token_type_ids: filled(types, 0),
    position_ids: Array.from({ length }, (_, at) => at),
  }
  return new Map(
    inputs.map(({ name, datatype, shape }) => {
      const samples = shape[0]! > 0 ? shape[0]! : 1
      const values = Array.from({ length: samples }, () => rows[name]!).flat()
      return [name, Tensor.of(DATATYPES[datatype], [samples, length], values)]
    }),
  )
}
