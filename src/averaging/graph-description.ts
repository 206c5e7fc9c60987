/**
 * A model as a list of facts, without its weights: the common base of comparing graphs and of fingerprinting them. What
 * does not change the function is left out: names of nodes and of values in between, documentation, producer, value_info.
 */

import { createHash } from 'node:crypto'
import { toHex } from '../util/bytes.ts'
import { UnsupportedError } from '../util/errors.ts'
import { decodeText, type Attribute } from '../ir/attribute.ts'
import type { Graph, Model } from '../ir/graph.ts'
import { ONNX_DOMAIN, type Node } from '../ir/node.ts'
import { walkNodes } from '../ir/topology.ts'
import type { Value } from '../ir/value.ts'
import { formatShape } from '../tensor/shape.ts'
import type { Tensor } from '../tensor/tensor.ts'
import { tensorDigest } from './digest.ts'
import { modelWeights, type ModelWeight } from './model-weights.ts'

export interface Fact {
  /** Where in the model: `node 12, Conv "stem"`. */
  readonly place: string
  /** What is said about it: `attribute pads`. */
  readonly subject: string
  readonly text: string
}

/** Tensors up to this many elements are written out, larger ones by their hash. */
const SHORT = 16

/**
 * Whether a tensor counts something: batches that a batch norm has seen, models in an AveragedModel of PyTorch. Counters
 * do not belong to the graph, though their elements are fixed (model-weights.ts).
 */
export function isCounter(name: string): boolean {
  return name.endsWith('num_batches_tracked') || name === 'n_averaged'
}

export async function describeModel(model: Model): Promise<Fact[]> {
  return new Describer(model, 'names').describe()
}

/** A model's facts with its weights numbered in the order of their use, whatever their names. */
export async function describeStructure(
  model: Model,
): Promise<{ readonly facts: readonly Fact[]; readonly weights: readonly string[] }> {
  const describer = new Describer(model, 'structure')
  const facts = await describer.describe()
  return { facts, weights: describer.used }
}

class Describer {
  readonly #model: Model
  readonly #facts: Fact[] = []
  readonly #weights: ReadonlyMap<Tensor, ModelWeight>
  /** Inputs and weights by name, values in between by number. */
  readonly #names = new Map<Value, string>()
  readonly #match: 'names' | 'structure'
  /** Names of weights in the order of their use. */
  readonly used: string[] = []
  #count = 0

  constructor(model: Model, match: 'names' | 'structure') {
    this.#model = model
    this.#match = match
    this.#weights = new Map(modelWeights(model).map(weight => [weight.tensor, weight]))
  }

  async describe(): Promise<Fact[]> {
    const { graph, opsetImports, functions } = this.#model
    const domains = new Set([ONNX_DOMAIN, ...Array.from(walkNodes(graph), ({ domain }) => domain)])
    for (const [domain, version] of [...opsetImports].sort()) {
      // Optimizers declare operator sets that no node is of.
      if (!domains.has(domain)) continue
      this.#add('model', `version of operator set "${domain || 'ai.onnx'}"`, String(version))
    }
    await this.#graph(graph, 'graph', true)
    for (const definition of functions) {
      const { domain, name, overload, opsetImports: imports } = definition
      const place = `function ${domain}.${name}`
      this.#add(place, 'overload', overload)
      const list = [...imports].map(([set, version]) => `"${set || 'ai.onnx'}" ${version}`)
      this.#add(place, 'operator sets', list.sort().join(', '))
      await this.#graph(definition.graph, place, false)
    }
    return this.#facts
  }

  #add(place: string, subject: string, text: string): void {
    this.#facts.push({ place, subject, text })
  }

  /** Inputs and outputs of the main graph are an interface: their names count. Those of sub-graphs do not. */
  async #graph(graph: Graph, place: string, main: boolean): Promise<void> {
    const inputs = main ? graph.feeds : graph.inputs
    for (const input of inputs) this.#names.set(input, main ? `"${input.name}"` : this.#number())
    this.#add(place, 'inputs', inputs.map(input => this.#nameOf(input) + typeText(input)).join(', '))
    for (const value of graph.initializers) await this.#initializer(value, place)
    for (const [i, node] of graph.nodes.entries()) {
      await this.#node(node, `${main ? '' : `${place}, `}node ${i}, ${node.label}`)
    }
    for (const value of graph.outputs) await this.#use(value, place)
    const outputs = graph.outputs.map(value => {
      const outer = main ? `"${value.name}"${typeText(value)} = ` : ''
      return outer + this.#nameOf(value)
    })
    this.#add(place, 'outputs', outputs.join(', '))
  }

  async #initializer(value: Value, place: string): Promise<void> {
    if (!value.tensor || this.#match === 'structure') return
    const name = this.#nameOfWeight(value.tensor, value)
    this.#names.set(value, `"${name}"`)
    this.#add(place, `initializer "${name}"`, await this.#tensor(value.tensor))
  }

  #nameOfWeight(tensor: Tensor, { name }: Value): string {
    return this.#weights.get(tensor)?.name ?? name
  }

  /** Numbers an initializer when it is first used, where names do not count. */
  async #use(value: Value | null, place: string): Promise<void> {
    if (!value?.tensor || this.#names.has(value)) return
    const name = `weight ${this.used.length}`
    this.used.push(this.#nameOfWeight(value.tensor, value))
    this.#names.set(value, name)
    this.#add(place, name, await this.#tensor(value.tensor))
  }

  async #node(node: Node, place: string): Promise<void> {
    this.#add(place, 'operator', node.domain ? `${node.domain}.${node.opType}` : node.opType)
    for (const value of node.inputs) await this.#use(value, place)
    this.#add(place, 'inputs', node.inputs.map(value => (value ? this.#nameOf(value) : '-')).join(', '))
    const attributes = [...node.attributes].sort(([a], [b]) => (a < b ? -1 : 1))
    this.#add(place, 'attributes', attributes.map(([name]) => name).join(', '))
    for (const [name, attribute] of attributes) {
      const bodies =
        attribute.kind === 'graph' ? [attribute.value] : attribute.kind === 'graphs' ? attribute.value : []
      for (const [i, body] of bodies.entries()) {
        await this.#graph(body, `${place}, ${name}${bodies.length > 1 ? ` ${i}` : ''}`, false)
      }
      if (bodies.length === 0) this.#add(place, `attribute ${name}`, await this.#attribute(attribute))
    }
    for (const [, attribute] of attributes) {
      const weight = attribute.kind === 'tensor' ? this.#weights.get(attribute.value) : undefined
      if (weight) this.used.push(weight.name)
    }
    for (const output of node.outputs) if (output) this.#names.set(output, this.#number())
    this.#add(place, 'outputs', node.outputs.map(value => (value ? this.#nameOf(value) : '-')).join(', '))
  }

  async #attribute(attribute: Attribute): Promise<string> {
    switch (attribute.kind) {
      case 'float':
        return `float ${numberText(attribute.value)}`
      case 'floats':
        return `floats ${attribute.value.map(numberText).join(', ')}`
      case 'int':
        return `int ${attribute.value.toString()}`
      case 'ints':
        return `ints ${attribute.value.join(', ')}`
      case 'string':
        return `string ${JSON.stringify(decodeText(attribute.value))}`
      case 'strings':
        return `strings ${JSON.stringify(attribute.value.map(decodeText))}`
      case 'tensor':
        return this.#tensor(attribute.value)
      case 'tensors':
        return (await Promise.all(attribute.value.map(tensor => this.#tensor(tensor)))).join('; ')
      case 'reference':
        return `attribute ${attribute.value.name} of the call, type ${attribute.value.type}`
      default:
        return `${attribute.kind} ${hashText(attribute.value)}`
    }
  }

  /** Weights by type alone, everything else with its elements. */
  async #tensor(tensor: Tensor): Promise<string> {
    const type = `${tensor.dtype}${formatShape(tensor.dims)}`
    const weight = this.#weights.get(tensor)
    if (weight && (weight.fixed === null || isCounter(weight.name))) return type
    const short = tensor.size <= SHORT && tensor.dtype !== 'string'
    const elements = short ? toHex(await tensor.bytes()) : `digest ${await tensorDigest(tensor)}`
    return `${type} ${short ? elementText(await tensor.load(), elements) : elements}`
  }

  #nameOf(value: Value): string {
    const name = this.#names.get(value)
    if (name !== undefined) return name
    throw new UnsupportedError(
      `model: value "${value.name}" has no producer that can be compared; is it a sparse initializer?`,
      { cure: 'export the model with dense weights' },
    )
  }

  #number(): string {
    return `%${this.#count++}`
  }
}

/** Numbers where there is a typed array for them, bytes elsewhere. */
function elementText(tensor: Tensor, hex: string): string {
  switch (tensor.dtype) {
    case 'int64':
    case 'uint64':
      return Array.from(tensor.view(), String).join(', ')
    case 'float32':
    case 'float64':
    case 'float16':
    case 'bfloat16':
    case 'int32':
    case 'uint32':
    case 'int16':
    case 'uint16':
    case 'int8':
    case 'uint8':
    case 'bool':
      return tensor.toNumbers().map(numberText).join(', ')
    default:
      return hex
  }
}

function numberText(value: number): string {
  return Object.is(value, -0) ? '-0' : String(value)
}

/** The element type and the known dimensions; names of symbolic dimensions say nothing. */
function typeText({ type }: Value): string {
  if (type === null) return ''
  if (type.kind === 'opaque') return ` ${type.description}`
  const dims = type.shape?.map(dim => (typeof dim === 'number' ? dim : null))
  return ` ${type.dtype}${dims ? formatShape(dims) : ''}`
}

function hashText(value: unknown): string {
  const text = JSON.stringify(value, (_, part: unknown) =>
    typeof part === 'bigint' ? part.toString() : part instanceof Uint8Array ? toHex(part) : part,
  )
  return `sha256 ${createHash('sha256').update(text).digest('hex')}`
}
