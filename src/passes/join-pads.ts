/**
 * A sum of pieces that were padded with zeros to one shape is their concatenation, where they lie side by side along one
 * axis: what remains of the gradients of Split, Slice and Gather when each piece of a tensor is used once. Two passes over
 * the tensor instead of two for every piece.
 */

import { Builder } from '../ir/builder.ts'
import type { Graph } from '../ir/graph.ts'
import { ONNX_DOMAIN, type Node } from '../ir/node.ts'
import { usesOf } from '../ir/topology.ts'
import type { Value } from '../ir/value.ts'
import { tensorOf } from './lift-constants.ts'
import { namesOf } from './names.ts'
import { removeDeadNodesOf } from './dead-nodes.ts'

/** A piece and where it lies. */
interface Piece {
  readonly value: Value
  readonly axis: number
  readonly begin: number
  readonly end: number
}

/** Replaces such sums in place; zeros fill what no piece covers. */
export function joinPads(graph: Graph): void {
  const op = new Builder(namesOf(graph))
  const uses = usesOf(graph)
  const isInner = (node: Node) => {
    const readers = uses.get(node.output(0)) ?? []
    return readers.length === 1 && isAdd(readers[0]!.node) && !graph.outputs.includes(node.output(0))
  }
  graph.nodes = graph.nodes.flatMap(node => {
    if (!isAdd(node) || isInner(node)) return [node]
    const pieces = piecesOf(node, isInner)
    const ordered = pieces && inOrder(pieces)
    if (!ordered) return [node]
    const y = node.output(0)
    op.within(node.name, () => {
      const joined = op.Concat(withGaps(op, ordered, y), ordered[0]!.axis).producer!
      joined.outputs = [y]
      y.producer = joined
    })
    return op.nodes.splice(0)
  })
  graph.initializers.push(...op.initializers)
  removeDeadNodesOf(graph)
}

function isAdd(node: Node): boolean {
  return node.opType === 'Add' && node.domain === ONNX_DOMAIN
}

/** The leaves of a tree of Adds, all of them padded; null where one is not. */
function piecesOf(node: Node, isInner: (node: Node) => boolean): Piece[] | null {
  const pieces: Piece[] = []
  for (const i of [0, 1]) {
    const value = node.input(i)
    const { producer } = value
    const below = producer && isAdd(producer) && isInner(producer) ? piecesOf(producer, isInner) : null
    const own = below ? null : pieceOf(value)
    if (!below && !own) return null
    pieces.push(...(below ?? [own!]))
  }
  return pieces
}

/** What a Pad with zeros along one axis holds. */
function pieceOf(value: Value): Piece | null {
  const node = value.producer
  if (node?.opType !== 'Pad' || node.domain !== ONNX_DOMAIN || node.string('mode', 'constant') !== 'constant')
    return null
  const pads = constantNumbers(node.inputs[1])
  const fill = node.inputs[2] ? constantNumbers(node.inputs[2]) : [0]
  if (!pads || node.inputs[3] || fill?.[0] !== 0) return null
  const { rank, shape } = node.input(0)
  const padded = shape.map((_, axis) => axis).filter(axis => pads[axis] !== 0 || pads[axis + rank] !== 0)
  const [axis] = padded
  if (padded.length !== 1 || axis === undefined || pads.some(pad => pad < 0)) return null
  const begin = pads[axis]!
  return { value: node.input(0), axis, begin, end: begin + shape[axis]! }
}

function constantNumbers(value: Value | null | undefined): number[] | null {
  const tensor = value ? tensorOf(value) : null
  return tensor?.resident ? tensor.toNumbers() : null
}

/** Pieces of one axis that do not overlap, from the first on; null for others. */
function inOrder(pieces: readonly Piece[]): Piece[] | null {
  const ordered = [...pieces].sort((a, b) => a.begin - b.begin)
  const apart = ordered.every(({ axis, begin }, i) => {
    return axis === ordered[0]!.axis && (i === 0 || ordered[i - 1]!.end <= begin)
  })
  return apart ? ordered : null
}

function withGaps(op: Builder, pieces: readonly Piece[], y: Value): Value[] {
  const { axis } = pieces[0]!
  let covered = 0
  const parts: Value[] = []
  const fillTo = (position: number) => {
    if (position > covered) parts.push(op.full(y.shape.with(axis, position - covered), 0, y.dtype))
  }
  for (const { value, begin, end } of pieces) {
    fillTo(begin)
    parts.push(value)
    covered = end
  }
  fillTo(y.shape[axis]!)
  return parts
}
