/**
 * LSTM, GRU and RNN as data: what their attributes say.
 *
 * Words: T time steps, B samples, I inputs, H hidden units, D directions, G gates of a cell. X is [T,B,I], W [D,G·H,I],
 * R [D,G·H,H], B [D,2·G·H], sequence_lens [B], initial_h and initial_c [D,B,H], P [D,3·H]; Y is [T,D,B,H], Y_h and Y_c
 * are [D,B,H].
 */

import { decodeText } from '../ir/attribute.ts'
import type { Node } from '../ir/node.ts'
import { UnsupportedError } from '../util/errors.ts'
import { cellActivations, type CellActivation } from './cell-activations.ts'

/** Operator -> the activation functions of one direction that it has by default. */
const DEFAULTS: Readonly<Record<string, readonly string[]>> = {
  LSTM: ['Sigmoid', 'Tanh', 'Tanh'],
  GRU: ['Sigmoid', 'Tanh'],
  RNN: ['Tanh'],
}

export interface RecurrentDirection {
  /** Its place on the axis D. */
  readonly index: number
  /** Whether it begins at the last time step. */
  readonly reverse: boolean
  readonly activations: readonly CellActivation[]
}

export interface Recurrent {
  readonly steps: number
  readonly batch: number
  readonly inputs: number
  readonly hidden: number
  readonly directions: readonly RecurrentDirection[]
  /** Pre-activations are cut to [−clip, clip]; null where they are not. */
  readonly clip: number | null
}

/** Reads a node of static shapes; refuses by name what is not computed here. */
export function recurrentOf(node: Node): Recurrent {
  if (node.int('layout', 0) !== 0) throw refusal(node, 'has layout 1, which ONNX Runtime does not run')
  if (node.int('input_forget', 0) !== 0) throw refusal(node, 'couples input and forget gate (input_forget)')
  const [x, r] = [node.input(0), node.input(2)]
  const [steps, batch, inputs] = x.shape as [number, number, number]
  const direction = node.string('direction', 'forward').toLowerCase()
  const reversed = direction === 'bidirectional' ? [false, true] : [direction === 'reverse']
  const defaults = DEFAULTS[node.opType]!
  const names = stringsOf(node) ?? reversed.flatMap(() => defaults)
  const functions = cellActivations(
    names,
    node.floats('activation_alpha') ?? [],
    node.floats('activation_beta') ?? [],
  ).map((found, i) => {
    if (!found)
      throw refusal(node, `has the activation "${names[i]!}", which the specification does not list`)
    return found
  })
  const clip = node.float('clip', 0)
  return {
    ...{ steps, batch, inputs, hidden: r.shape[2]!, clip: clip > 0 ? clip : null },
    directions: reversed.map((reverse, index) => ({
      ...{ index, reverse },
      activations: functions.slice(index * defaults.length, (index + 1) * defaults.length),
    })),
  }
}

function stringsOf(node: Node): string[] | null {
  const attribute = node.attributes.get('activations')
  return attribute?.kind === 'strings' ? attribute.value.map(decodeText) : null
}

function refusal(node: Node, why: string): UnsupportedError {
  return new UnsupportedError(`gradient: ${node.label} ${why}`, {
    cure: 'export the model with another form of the layer, or freeze the parameters that feed it',
  })
}
