/** Finds where the loss attaches: before a trailing Softmax or Sigmoid, so that neither is applied twice. */

import { UsageError } from '../util/errors.ts'
import type { Model } from '../ir/graph.ts'
import { ONNX_DOMAIN, type Node } from '../ir/node.ts'
import type { Value } from '../ir/value.ts'
import { keepsElements } from './sources.ts'

export type Activation = 'none' | 'softmax' | 'log_softmax' | 'sigmoid'

export interface Logits {
  /** The graph output that was asked for. */
  readonly output: Value
  /** The value that the loss attaches to. */
  readonly value: Value
  /** What the model applies after it. */
  readonly activation: Activation
  /** The node that applies it; null for 'none'. */
  readonly node: Node | null
  /** The axis that a Softmax normalises, as the node says it; null for other activations. */
  readonly axis: number | null
  /** What a person should know, for example that the output has another shape than the logits. */
  readonly notes: readonly string[]
}

/** Operator -> what it is as the last step of a model. */
const ACTIVATIONS: Readonly<Record<string, Activation>> = {
  Softmax: 'softmax',
  LogSoftmax: 'log_softmax',
  Sigmoid: 'sigmoid',
}

/** From this opset a Softmax without an axis means the last one; before, axis 1. */
const LAST_AXIS_OPSET = 13

/** The logits of the named output, or of the only one. */
export function findLogits(model: Model, outputName?: string): Logits {
  const output = chooseOutput(model, outputName)
  const moved: string[] = []
  let end = output
  while (end.producer && keepsElements(end)) {
    if (!['Identity', 'Cast', 'CastLike'].includes(end.producer.opType)) moved.push(end.producer.label)
    end = end.producer.input(0)
  }
  const found = recognise(end)
  if (found === null) return { output, value: output, activation: 'none', node: null, axis: null, notes: [] }
  const { activation, node, value } = found
  const notes = [`output "${output.name}" is a ${activation} (${node.label}); the loss uses "${value.name}"`]
  if (moved.length > 0) notes.push(`the loss sees the shape before ${moved.reverse().join(', ')}`)
  const axis = activation === 'sigmoid' ? null : node.int('axis', model.opset >= LAST_AXIS_OPSET ? -1 : 1)
  return { output, value, activation, node, axis, notes }
}

/** The activation that makes a value, and the value before it. */
function recognise(end: Value): { activation: Activation; node: Node; value: Value } | null {
  const node = end.producer
  if (node?.domain !== ONNX_DOMAIN) return null
  const activation = ACTIVATIONS[node.opType]
  if (activation) return { activation, node, value: node.input(0) }
  const inner = node.opType === 'Log' ? node.input(0).producer : null
  if (inner?.opType === 'Softmax' && inner.domain === ONNX_DOMAIN) {
    return { activation: 'log_softmax', node: inner, value: inner.input(0) }
  }
  return null
}

function chooseOutput(model: Model, name: string | undefined): Value {
  const { outputs } = model.graph
  const list = outputs.map(value => `"${value.name}"`).join(', ')
  if (name !== undefined) {
    const named = outputs.find(value => value.name === name)
    if (!named) throw new UsageError(`model: no output is called "${name}", found ${list || 'none'}`)
    return named
  }
  if (outputs.length !== 1) {
    throw new UsageError(
      `model: expected one output to attach the loss to, found ${outputs.length}: ${list}`,
      {
        cure: 'name the output that holds the predictions with --output',
      },
    )
  }
  return outputs[0]!
}
