/** Replaces calls of model-local functions by copies of their bodies, at any opset, nested ones too. */

import { InputError, UnsupportedError } from '../util/errors.ts'
import { Graph, Model, type FunctionDefinition } from '../ir/graph.ts'
import { ONNX_DOMAIN, type Node } from '../ir/node.ts'
import { walkGraphs, walkNodes } from '../ir/topology.ts'
import { cloneModel } from './clone.ts'
import { bindCopied, BodyCopier } from './copy-body.ts'
import { Names } from './names.ts'
import type { PassResult } from './pass.ts'
import { NEWEST_KNOWN_CHANGES, raiseOpset } from './raise-opset.ts'

/** Since this opset the scale of GroupNormalization has one number a channel, before one a group. */
const GROUP_NORM_CHANGE = 21

/**
 * Inlines every call; the model has no functions afterwards.
 * 1. Graph and bodies come to one opset: the model's where all have it, else the newest of them, at least 18.
 * 2. A call becomes a copy of the body: inputs that it leaves out are absent, attributes that the body refers to are the
 *    call's, or the function's own defaults. Weights of a body are shared by all of its copies.
 */
export function inlineFunctions(model: Model): PassResult {
  if (model.functions.length === 0) return { model, modified: false }
  const definitions = new Map(
    model.functions.map(definition => [
      keyOf(definition.domain, definition.name, definition.overload),
      definition,
    ]),
  )
  model.functions = []
  const opset = commonOpset(model, [...definitions.values()])
  const own = model.opsetImports.get(ONNX_DOMAIN)
  if (own !== undefined && own !== opset) raiseOpset(model, Math.min(opset, NEWEST_KNOWN_CHANGES))
  const inliner = new Inliner(model, definitions, opset)
  for (const graph of [...walkGraphs(model.graph)]) graph.nodes = inliner.expand(graph.nodes, [])
  inliner.placeWeights()
  if (model.opsetImports.has(ONNX_DOMAIN)) model.opsetImports.set(ONNX_DOMAIN, opset)
  for (const { opsetImports } of definitions.values()) {
    for (const [domain, version] of opsetImports) {
      if (!model.opsetImports.has(domain))
        model.opsetImports.set(domain, domain === ONNX_DOMAIN ? opset : version)
    }
  }
  return { model, modified: true }
}

/** The model as training sees it: itself, or a copy whose calls are written out; the copy holds the same tensors. */
export function withoutFunctions(model: Model): Model {
  return model.functions.length === 0 ? model : inlineFunctions(cloneModel(model).model).model
}

/** The key under which calls find their function. */
function keyOf(domain: string, name: string, overload: string): string {
  return `${domain}.${name}:${overload}`
}

function commonOpset(model: Model, definitions: readonly FunctionDefinition[]): number {
  const bodies = [
    { what: 'the graph', graph: model.graph, opset: model.opsetImports.get(ONNX_DOMAIN) },
    ...definitions.map(({ domain, name, graph, opsetImports }) => ({
      what: `function ${domain}.${name}`,
      graph,
      opset: opsetImports.get(ONNX_DOMAIN),
    })),
  ].filter(({ opset }) => opset !== undefined)
  const opsets = bodies.map(({ opset }) => opset!)
  if (new Set(opsets).size <= 1) return opsets[0] ?? model.opset
  const newest = Math.max(NEWEST_KNOWN_CHANGES, ...opsets)
  for (const { what, graph, opset } of bodies) {
    if (opset! >= GROUP_NORM_CHANGE || newest < GROUP_NORM_CHANGE) continue
    const changed = [...walkNodes(graph)].find(
      node => node.domain === ONNX_DOMAIN && node.opType === 'GroupNormalization',
    )
    if (!changed) continue
    throw new UnsupportedError(
      `${changed.label}: it is of opset ${opset!} in ${what} and means something else in opset ${newest}, which the model uses elsewhere`,
      { cure: 'export the model with one opset for graph and functions' },
    )
  }
  return newest
}

class Inliner {
  readonly #graph: Graph
  readonly #names: Names
  readonly #definitions: ReadonlyMap<string, FunctionDefinition>
  readonly #copiers = new Map<FunctionDefinition, BodyCopier>()
  readonly #opset: number
  /** Receives the weights of bodies while the nodes of the graph are rebuilt. */
  readonly #weights = new Graph('weights of functions')

  constructor(model: Model, definitions: ReadonlyMap<string, FunctionDefinition>, opset: number) {
    this.#graph = model.graph
    this.#names = new Names(model.graph)
    this.#definitions = definitions
    this.#opset = opset
  }

  /** The nodes with every call replaced; `inside`: the functions that are being expanded. */
  expand(nodes: readonly Node[], inside: readonly FunctionDefinition[]): Node[] {
    return nodes.flatMap(node => {
      const definition = this.#definitions.get(keyOf(node.domain, node.opType, node.overload))
      return definition ? this.#expandCall(node, definition, inside) : [node]
    })
  }

  /** The weights of all bodies go before everything that reads them. */
  placeWeights(): void {
    this.#graph.nodes.unshift(...this.#weights.nodes)
    this.#graph.initializers.push(...this.#weights.initializers)
  }

  #expandCall(call: Node, definition: FunctionDefinition, inside: readonly FunctionDefinition[]): Node[] {
    if (inside.includes(definition)) {
      throw new InputError(`${call.label}: function ${definition.domain}.${definition.name} calls itself`)
    }
    const { graph: body } = definition
    if (call.inputs.length > body.inputs.length || call.outputs.length > body.outputs.length) {
      const sizes = (inputs: number, outputs: number) => `${inputs} inputs and ${outputs} outputs`
      throw new InputError(
        `${call.label}: function ${definition.domain}.${definition.name} has ${sizes(body.inputs.length, body.outputs.length)}, found ${sizes(call.inputs.length, call.outputs.length)}`,
      )
    }
    const copy = this.#copierOf(definition).copy(call.inputs, call.name || call.opType, instance => {
      for (const node of walkNodes(instance)) resolveReferences(node, call, definition)
      this.#raise(instance, definition)
    })
    call.outputs.forEach((output, i) => {
      if (!output || copy.outputs[i]) return
      throw new InputError(`${call.label}: output "${output.name}" is an input that the call leaves out`)
    })
    const bound = bindCopied(copy, call.outputs, this.#names)
    const within = [...inside, definition]
    for (const node of copy.nodes) {
      for (const subgraph of node.subgraphs()) {
        for (const inner of walkGraphs(subgraph)) inner.nodes = this.expand(inner.nodes, within)
      }
    }
    return [...this.expand(copy.nodes, within), ...bound]
  }

  #copierOf(definition: FunctionDefinition): BodyCopier {
    const known = this.#copiers.get(definition)
    if (known) return known
    const copier = new BodyCopier(this.#weights, this.#names, definition.graph)
    this.#copiers.set(definition, copier)
    return copier
  }

  /** A copy of a body of another opset, rewritten in the one of the model. */
  #raise(instance: Graph, { opsetImports }: FunctionDefinition): void {
    const opset = opsetImports.get(ONNX_DOMAIN)
    if (opset === undefined || opset >= Math.min(this.#opset, NEWEST_KNOWN_CHANGES)) return
    raiseOpset(new Model(instance, 0, new Map([[ONNX_DOMAIN, opset]])))
  }
}

/** Attributes of a copied node that the call gives, or that the function has a default for; others are left out. */
function resolveReferences(node: Node, call: Node, { defaults }: FunctionDefinition): void {
  for (const [name, attribute] of node.attributes) {
    if (attribute.kind !== 'reference') continue
    const given = call.attributes.get(attribute.value.name) ?? defaults.get(attribute.value.name)
    if (given) node.attributes.set(name, given)
    else node.attributes.delete(name)
  }
}
