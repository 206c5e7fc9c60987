/** Gives a model's inputs static shapes and forgets the shapes that were declared for other ones. */

import { UsageError } from '../util/errors.ts'
import { formatShape, type Shape } from '../tensor/shape.ts'
import type { Model } from '../ir/graph.ts'
import { walkGraphs } from '../ir/topology.ts'
import type { Dim, Value } from '../ir/value.ts'
import type { PassResult } from './pass.ts'

/**
 * The first dimension of every fed input becomes `batch`. `inputShapes` (input name -> whole shape) overrides, and
 * gives the sizes that the model leaves open; a symbol that gets a size there has it in all inputs.
 */
export function setBatchSize(
  model: Model,
  batch: number,
  inputShapes: ReadonlyMap<string, Shape> = new Map(),
): PassResult {
  const { graph } = model
  const feeds = graph.feeds
  for (const name of inputShapes.keys()) {
    if (feeds.some(input => input.name === name)) continue
    const list = feeds.map(input => `"${input.name}"`).join(', ')
    throw new UsageError(`model: no input is called "${name}", found ${list || 'none'}`)
  }
  const symbols = new Map<string, number>()
  for (const input of feeds) {
    const shape = wantedShape(input, batch, inputShapes.get(input.name))
    declared(input)?.forEach((dim, axis) => {
      const size = shape?.[axis]
      if (typeof dim === 'string' && typeof size === 'number') symbols.set(dim, size)
    })
  }
  for (const input of feeds) {
    const shape = wantedShape(input, batch, inputShapes.get(input.name))
    const sized = shape?.map(dim => (typeof dim === 'string' ? (symbols.get(dim) ?? dim) : dim))
    setShape(input, checkStatic(input, sized))
  }
  for (const inner of walkGraphs(graph)) {
    for (const node of inner.nodes) {
      for (const output of node.outputs) if (output) setShape(output, null)
    }
  }
  return { model, modified: true }
}

function declared(input: Value): readonly Dim[] | null {
  return input.type?.kind === 'tensor' ? input.type.shape : null
}

function wantedShape(input: Value, batch: number, given: Shape | undefined): readonly Dim[] | null {
  const shape = declared(input)
  if (!given) return shape && shape.length > 0 ? [batch, ...shape.slice(1)] : shape
  if (shape && shape.length !== given.length) {
    throw new UsageError(
      `model: input ${input.toString()} has rank ${shape.length}, the shape given for it is ${formatShape(given)}`,
    )
  }
  return given
}

function checkStatic(input: Value, shape: readonly Dim[] | null | undefined): Shape {
  if (shape?.every(dim => typeof dim === 'number')) return shape
  const open = shape?.map((dim, axis) => (typeof dim === 'number' ? '' : `${dim ?? '?'} (axis ${axis})`))
  const what = open ? `dimension ${open.filter(Boolean).join(', ')} open` : 'its rank open'
  throw new UsageError(`model: input ${input.toString()} leaves ${what}`, {
    cure: 'give the whole shape of this input',
  })
}

function setShape(value: Value, shape: Shape | null): void {
  if (value.type?.kind === 'tensor') value.type = { kind: 'tensor', dtype: value.type.dtype, shape }
}
