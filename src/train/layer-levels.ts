/**
 * How deep in a model its weights are, in layers as a person counts them: what layer-wise decay of the learning rate needs.
 *
 * Exporters keep the names of modules, and a module that repeats has a number: `encoder.layer.3.attention.self.query.weight`
 * belongs to `encoder.layer.3`. Such blocks are layers, in the order in which the graph comes to them. What comes before
 * the first block is the first layer, what comes behind the last is the last; a weight without a number in its name, or one
 * that was renamed, belongs to the block it stands in. A model whose names tell nothing is cut by depth: the number of
 * weighted nodes on the longest way from the inputs, in at most twelve layers.
 */

import type { Graph } from '../ir/graph.ts'
import { readsOf, usesOf } from '../ir/topology.ts'
import type { Node } from '../ir/node.ts'
import type { Value } from '../ir/value.ts'
import { finalUses, variableValues } from '../passes/index.ts'

/** A weight of a graph and the name it is known by. */
export interface NamedWeight {
  readonly name: string
  readonly value: Value
}

/** As many as the blocks of the usual transformer. */
const MOST_LAYERS = 12

/** The layer of each weight by name, counted from 0 at the inputs. */
export function layerLevels(graph: Graph, weights: readonly NamedWeight[]): Map<string, number> {
  const users = usersOf(graph, weights)
  const order = new Map(graph.nodes.map((node, i) => [node, i]))
  const placed = weights.map(({ name }) => {
    const positions = users.get(name)!.map(node => order.get(node) ?? 0)
    return { name, block: blockOf(name), position: Math.min(...positions, graph.nodes.length) }
  })
  const blocks = blocksOf(placed)
  const raw = blocks.length > 1 ? byBlocks(placed, blocks) : byDepth(graph, weights, users)
  const used = [...new Set(raw.values())].sort((a, b) => a - b)
  return new Map([...raw].map(([name, level]) => [name, used.indexOf(level)]))
}

/** The nodes at which each weight meets activations. */
function usersOf(graph: Graph, weights: readonly NamedWeight[]): Map<string, Node[]> {
  const uses = usesOf(graph)
  const changing = variableValues(graph)
  return new Map(
    weights.map(({ name, value }) => [
      name,
      finalUses(value, uses, changing, () => false).map(({ node }) => node),
    ]),
  )
}

interface Placed {
  readonly name: string
  readonly block: string | null
  /** Of the first node that uses it, in the order of the graph. */
  readonly position: number
}

interface Block {
  readonly name: string
  readonly first: number
  readonly last: number
}

function blocksOf(weights: readonly Placed[]): Block[] {
  const positions = new Map<string, number[]>()
  for (const { block, position } of weights) {
    if (block !== null) positions.set(block, [...(positions.get(block) ?? []), position])
  }
  const blocks = [...positions].map(([name, found]) => {
    return { name, first: Math.min(...found), last: Math.max(...found) }
  })
  return blocks.sort((a, b) => a.first - b.first)
}

function byBlocks(weights: readonly Placed[], blocks: readonly Block[]): Map<string, number> {
  const levels = new Map(blocks.map(({ name }, i) => [name, i + 1]))
  const end = Math.max(...blocks.map(({ last }) => last))
  return new Map(
    weights.map(({ name, block, position }) => {
      if (block !== null) return [name, levels.get(block)!]
      if (position > end) return [name, blocks.length + 1]
      return [name, blocks.filter(({ first }) => first <= position).length]
    }),
  )
}

/**
 * The block in a weight's name: up to its first number, and on where numbers follow (`features.5.0`, `layer1.0`) or a list
 * of blocks in a stage does (`stages.2.blocks.3`). A number at the end of a word counts if the word holds modules: `layer1`
 * does, the `bn1` of `bn1.weight` does not.
 */
export function blockOf(name: string): string | null {
  const parts = name.split('.')
  const isNumber = (i: number) => /^\d+$/.test(parts[i] ?? '')
  const inside = (i: number) => parts.length - 1 - i
  const start = parts.findIndex(
    (part, i) => inside(i) >= 1 && (isNumber(i) || (/\d[a-z]?$/.test(part) && inside(i) >= 2)),
  )
  if (start < 0) return null
  let end = start
  for (;;) {
    if (isNumber(end + 1) && inside(end + 1) >= 2) end += 1
    else if (/^\w*(?:layer|block)s$/.test(parts[end + 1] ?? '') && isNumber(end + 2)) end += 2
    else if (/^\w*(?:layer|block)_?\d+$/.test(parts[end + 1] ?? '') && inside(end + 1) >= 2) end += 1
    else return parts.slice(0, end + 1).join('.')
  }
}

/** Equal stretches of depth; the deepest weights are a layer of their own. */
function byDepth(
  graph: Graph,
  weights: readonly NamedWeight[],
  users: ReadonlyMap<string, readonly Node[]>,
): Map<string, number> {
  const matrices = weights.filter(({ value }) => value.shape.filter(dim => dim > 1).length > 1)
  const weighted = new Set(matrices.flatMap(({ name }) => users.get(name)!))
  const depths = new Map<Node, number>()
  for (const node of graph.nodes) {
    const before = [...readsOf(node)].map(({ producer }) => (producer && depths.get(producer)) ?? 0)
    depths.set(node, Math.max(0, ...before) + Number(weighted.has(node)))
  }
  const deepest = Math.max(1, ...depths.values())
  return new Map(
    weights.map(({ name }) => {
      const depth = Math.min(deepest, ...users.get(name)!.map(node => depths.get(node) ?? 0))
      return [name, Math.floor((depth * Math.min(MOST_LAYERS, deepest)) / deepest)]
    }),
  )
}
