/** Models with local functions: nodes named `domain::name` are calls. */

import type { Attribute } from '../../../src/ir/attribute.ts'
import { FunctionDefinition, type Model } from '../../../src/ir/graph.ts'
import { Node } from '../../../src/ir/node.ts'
import { buildGraph, buildModel, type Parts } from './build.ts'

export interface Definition {
  readonly domain?: string
  readonly name: string
  readonly body: Omit<Parts, 'opset'>
  readonly opset?: number
  readonly defaults?: Readonly<Record<string, Attribute>>
  /** Attributes without a default. */
  readonly attributes?: readonly string[]
}

/** A model whose nodes named `domain::name` are calls. */
export function withFunctions(parts: Parts, definitions: readonly Definition[]): Model {
  const model = buildModel(parts)
  model.irVersion = 9
  for (const {
    domain = 'local',
    name,
    body,
    opset = parts.opset ?? 18,
    defaults = {},
    attributes = [],
  } of definitions) {
    const definition = new FunctionDefinition(domain, name, '', buildGraph(name, body))
    definition.opsetImports = new Map([
      ['', opset],
      ['local', 1],
    ])
    definition.defaults = new Map(Object.entries(defaults))
    definition.extra = { rest: { attribute: attributes }, opsets: new Map() }
    toCalls(definition.graph.nodes)
    model.functions.push(definition)
    model.opsetImports.set(domain, 1)
  }
  toCalls(model.graph.nodes)
  return model
}

/** Nodes named `domain::name` become calls. */
export function toCalls(nodes: Node[]): void {
  nodes.forEach((node, i) => {
    const [domain, opType] = node.opType.split('::')
    if (opType === undefined) return
    const { name, attributes } = node
    nodes[i] = new Node(opType, node.inputs, node.outputs, { domain: domain!, name, attributes })
  })
}
