/** Graphs and models. */

import type { Attribute } from './attribute.ts'
import { ONNX_DOMAIN, type Node } from './node.ts'
import type { Value } from './value.ts'

export class Graph {
  name: string
  inputs: Value[] = []
  outputs: Value[] = []
  /** Values that carry a tensor. Before IR version 4 each of them is an input as well. */
  initializers: Value[] = []
  /** In an order in which producers precede consumers. */
  nodes: Node[] = []
  /** What the file said about this graph and the IR does not model; opaque, for the serializer. */
  extra: unknown = undefined

  constructor(name: string) {
    this.name = name
  }

  /** The inputs that a caller has to feed: those that are not initializers too. */
  get feeds(): Value[] {
    return this.inputs.filter(input => input.tensor === null)
  }
}

/** A model-local function (FunctionProto). Its body refers to inputs and outputs by Value, as a graph does. */
export class FunctionDefinition {
  readonly domain: string
  readonly name: string
  readonly overload: string
  readonly graph: Graph
  opsetImports = new Map<string, number>()
  /** Attributes that a call may leave out, with what they are then. */
  defaults = new Map<string, Attribute>()
  extra: unknown = undefined

  constructor(domain: string, name: string, overload: string, graph: Graph) {
    this.domain = domain
    this.name = name
    this.overload = overload
    this.graph = graph
  }
}

export class Model {
  irVersion: number
  /** Domain -> version; the default domain is `''`. */
  opsetImports: Map<string, number>
  graph: Graph
  functions: FunctionDefinition[] = []
  metadata = new Map<string, string>()
  producerName = ''
  producerVersion = ''
  /** What the file said about this model and the IR does not model; opaque, for the serializer. */
  extra: unknown = undefined

  constructor(graph: Graph, irVersion: number, opsetImports: Map<string, number>) {
    this.graph = graph
    this.irVersion = irVersion
    this.opsetImports = opsetImports
  }

  /** Version of the default operator set. */
  get opset(): number {
    return this.opsetImports.get(ONNX_DOMAIN) ?? 1
  }
}
