/** Replaces a `Loop` or `Scan` of known length by that many copies of its body. */

import { int, type Attribute } from '../ir/attribute.ts'
import type { Graph } from '../ir/graph.ts'
import { Node, ONNX_DOMAIN } from '../ir/node.ts'
import { walkNodes } from '../ir/topology.ts'
import { Value } from '../ir/value.ts'
import { normalizeAxis, type Shape } from '../tensor/shape.ts'
import { Tensor } from '../tensor/tensor.ts'
import { bindCopied, BodyCopier } from './copy-body.ts'
import { tensorOf } from './lift-constants.ts'
import { Names } from './names.ts'
import type { Pass } from './pass.ts'

/** Longer loops stay loops: a program of their copies would be larger than what it computes. */
const MOST_ITERATIONS = 256
const MOST_NODES = 20_000

/**
 * Unrolls the main graph's Loop and Scan nodes whose length is known: trip counts that are initializers (as they are
 * once constants were observed) and scanned inputs of static shape. Weights of a body are shared by all iterations.
 */
export const unrollLoops: Pass = model => {
  const { graph } = model
  let modified = false
  for (const node of [...graph.nodes]) {
    const plan = planOf(node)
    if (plan === null || typeof plan === 'string') continue
    const nodes = new Unroller(graph, node).write(plan)
    // The copies' weights went before all nodes, so the position is looked up afterwards.
    graph.nodes.splice(graph.nodes.indexOf(node), 1, ...nodes)
    modified = true
  }
  return { model, modified }
}

/** Why a Loop or Scan is not unrolled; null for those that are, and for other nodes. */
export function keptLoop(node: Node): string | null {
  const plan = planOf(node)
  return typeof plan === 'string' ? plan : null
}

/** What the iterations of a node take and give. */
interface Plan {
  readonly body: Graph
  readonly iterations: number
  /** Inputs of the body before the carried ones: number of the iteration and condition, of a Loop. */
  readonly counted: boolean
  readonly carried: readonly (Value | null)[]
  readonly scanned: readonly { readonly value: Value; readonly axis: number; readonly backward: boolean }[]
  readonly stacked: readonly { readonly axis: number; readonly backward: boolean }[]
}

function planOf(node: Node): Plan | string | null {
  if (node.domain !== ONNX_DOMAIN) return null
  const body = node.attributes.get('body')
  if (body?.kind !== 'graph') return null
  const plan =
    node.opType === 'Loop'
      ? planLoop(node, body.value)
      : node.opType === 'Scan'
        ? planScan(node, body.value)
        : null
  if (plan === null || typeof plan === 'string') return plan
  const size = plan.iterations * [...walkNodes(plan.body)].length
  if (plan.iterations > MOST_ITERATIONS || size > MOST_NODES) {
    return `its ${plan.iterations} iterations make ${size} nodes, unrolled are at most ${MOST_ITERATIONS} iterations and ${MOST_NODES} nodes`
  }
  if (plan.iterations === 0 && node.outputs.slice(plan.carried.length).some(output => output)) {
    return 'it has no iteration, and its stacked outputs are read'
  }
  return plan
}

function planLoop(node: Node, body: Graph): Plan | string {
  const count = tensorOf(node.inputs[0])
  if (node.inputs[0] && !count?.resident) return 'its trip count depends on the data'
  const start = tensorOf(node.inputs[1])
  if (node.inputs[1] && !start?.resident) return 'its condition depends on the data'
  const enters = start === null || start.toNumbers()[0] !== 0
  if (enters && !staysTrue(body)) return 'its condition is computed by its body'
  if (enters && !count) return 'it has no trip count'
  const iterations = enters ? Math.max(0, count!.toNumbers()[0]!) : 0
  const carried = node.inputs.slice(2)
  const stacked = body.outputs.slice(1 + carried.length).map(() => ({ axis: 0, backward: false }))
  return { body, iterations, counted: true, carried, scanned: [], stacked }
}

/** Whether the condition that a body gives is the one it takes, or constantly true. */
function staysTrue(body: Graph): boolean {
  let condition = body.outputs[0]!
  while (condition.producer && ['Identity', 'Cast'].includes(condition.producer.opType)) {
    condition = condition.producer.input(0)
  }
  if (condition === body.inputs[1]) return true
  const tensor = tensorOf(condition)
  return tensor?.resident === true && tensor.toNumbers()[0] !== 0
}

function planScan(node: Node, body: Graph): Plan | string {
  const scannedCount = node.int('num_scan_inputs', 0)
  const states = node.inputs.length - scannedCount
  const axes = node.ints('scan_input_axes', [])
  const directions = node.ints('scan_input_directions', [])
  const scanned = node.inputs.slice(states).map((value, i) => ({
    value: value!,
    axis: axes[i] ?? 0,
    backward: directions[i] === 1,
  }))
  const lengths = scanned.map(({ value, axis }) => {
    const shape = value.staticShape
    return shape ? shape[normalizeAxis(axis, shape.length, node.label)]! : null
  })
  const [iterations] = lengths
  if (iterations === undefined || lengths.includes(null))
    return 'the length of what it scans depends on the data'
  const outputAxes = node.ints('scan_output_axes', [])
  const outputDirections = node.ints('scan_output_directions', [])
  const stacked = body.outputs
    .slice(states)
    .map((_, i) => ({ axis: outputAxes[i] ?? 0, backward: outputDirections[i] === 1 }))
  return {
    body,
    iterations: iterations!,
    counted: false,
    carried: node.inputs.slice(0, states),
    scanned,
    stacked,
  }
}

/** Writes the copies of one node's body. */
class Unroller {
  readonly #graph: Graph
  readonly #node: Node
  readonly #names: Names

  constructor(graph: Graph, node: Node) {
    this.#graph = graph
    this.#node = node
    this.#names = new Names(graph)
  }

  write(plan: Plan): Node[] {
    const { body, iterations, stacked } = plan
    const { label, outputs } = this.#node
    const base = this.#node.name || label
    const copier = new BodyCopier(this.#graph, this.#names, body)
    const nodes: Node[] = []
    // 1. Slices of what is scanned, one for each iteration.
    const slices = plan.scanned.map(({ value, axis, backward }) => {
      const made = this.#slice(nodes, value, axis, iterations)
      return backward ? made.reverse() : made
    })
    // 2. The copies, each reading what the one before carried on.
    let carried = plan.carried
    const layers = stacked.map((): Value[] => [])
    for (let i = 0; i < iterations; i++) {
      const counter = plan.counted
        ? [
            this.#constant('iteration', Tensor.of('int64', oneElement(plan.body.inputs[0]), [BigInt(i)])),
            this.#constant('condition', Tensor.of('bool', oneElement(plan.body.inputs[1]), [1])),
          ]
        : []
      const inputs = [...counter, ...carried, ...slices.map(values => values[i]!)]
      const copy = copier.copy(inputs, `${base}/${i}`)
      nodes.push(...copy.nodes)
      const results = plan.counted ? copy.outputs.slice(1) : copy.outputs
      carried = results.slice(0, carried.length)
      results.slice(carried.length).forEach((value, k) => layers[k]!.push(value!))
    }
    // 3. What the node gives: the stacks, and the last carried values.
    stacked.forEach(({ axis, backward }, k) => {
      const output = outputs[carried.length + k]
      if (output) this.#stack(nodes, backward ? layers[k]!.reverse() : layers[k]!, axis, output)
    })
    nodes.push(...bindCopied({ nodes, outputs: carried }, outputs.slice(0, carried.length), this.#names))
    return nodes
  }

  /** `x` in slices along an axis, which they lose; all by one node, whose gradient is one Concat. */
  #slice(nodes: Node[], x: Value, axis: number, length: number): Value[] {
    const sizes = this.#constant(
      'sizes',
      Tensor.of(
        'int64',
        [length],
        Array.from({ length }, () => 1n),
      ),
    )
    const parts = Array.from({ length }, () => this.#value('part'))
    if (length > 0) nodes.push(this.#make('Split', [x, sizes], parts, { axis: int(axis) }))
    const axes = this.#constant('axis', Tensor.of('int64', [1], [BigInt(axis)]))
    return parts.map(part => {
      const slice = this.#value('slice')
      nodes.push(this.#make('Squeeze', [part, axes], [slice]))
      return slice
    })
  }

  #stack(nodes: Node[], layers: readonly Value[], axis: number, output: Value): void {
    const axes = this.#constant('axis', Tensor.of('int64', [1], [BigInt(axis)]))
    const parts = layers.map(layer => {
      const part = this.#value('layer')
      nodes.push(this.#make('Unsqueeze', [layer, axes], [part]))
      return part
    })
    nodes.push(this.#make('Concat', parts, [output], { axis: int(axis) }))
  }

  #make(
    opType: string,
    inputs: readonly Value[],
    outputs: readonly Value[],
    attributes: Readonly<Record<string, Attribute>> = {},
  ): Node {
    const name = this.#names.fresh(`${this.#node.name || this.#node.opType}/${opType}`)
    return new Node(opType, inputs, outputs, { name, attributes: new Map(Object.entries(attributes)) })
  }

  #value(role: string): Value {
    return new Value(this.#names.fresh(`${this.#node.name || this.#node.opType}/${role}`))
  }

  #constant(role: string, tensor: Tensor): Value {
    const value = Value.constant(this.#names.fresh(`${this.#node.name || this.#node.opType}/${role}`), tensor)
    this.#graph.initializers.push(value)
    return value
  }
}

/** ONNX: "scalar or 1-D tensor of 1 element"; ONNX Runtime gives what the body declares. */
function oneElement(input: Value | undefined): Shape {
  return input?.type?.kind === 'tensor' && input.type.shape?.length === 1 ? [1] : []
}
