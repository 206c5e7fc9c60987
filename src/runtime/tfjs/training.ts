/** A training program whose state stays on the device: one tensor for each part, replaced at each step. */

import type { Graph } from '../../ir/graph.ts'
import type { Value } from '../../ir/value.ts'
import { sizeOf } from '../../tensor/shape.ts'
import { Tensor } from '../../tensor/tensor.ts'
import { invariant } from '../../util/errors.ts'
import type { Feeds, Traffic } from '../engine.ts'
import type { StatePart, StateVector } from '../program.ts'
import { compile, type GivenTensor } from './compile.ts'
import { filterLayout, isOnnx, onnxLayout, type Layout } from './layout.ts'
import { upload, type Tfjs } from './model.ts'
import type { Plan } from './plan.ts'
import type { TfTensor } from './tf.ts'

const FLOAT_BYTES = 4

export class TfjsTraining {
  readonly #tfjs: Tfjs
  readonly #graph: Graph
  readonly #state: readonly StateVector[]
  readonly #metrics: readonly string[]
  readonly #layouts: ReadonlyMap<string, Layout>
  /** The current state, by graph input. */
  readonly #tensors = new Map<string, TfTensor>()
  #plan: Plan | null = null
  #traffic: Traffic = { steps: 0, runs: 0, batchBytes: 0, stateBytes: 0 }

  constructor(tfjs: Tfjs, graph: Graph, state: readonly StateVector[], metrics: readonly string[]) {
    this.#tfjs = tfjs
    this.#graph = graph
    this.#state = state
    this.#metrics = metrics
    this.#layouts = layoutsOf(graph, state)
  }

  get traffic(): Traffic {
    return this.#traffic
  }

  /** One step; the metrics by name. */
  async step(feeds: Feeds): Promise<Map<string, number>> {
    for (const { name, parts } of this.#state) {
      for (const { input } of parts) invariant(this.#tensors.has(input), `state ${name} was never written`)
    }
    const given = new Map([...feeds].map(([name, tensor]) => [name, upload(this.#tfjs.tf, tensor, name)]))
    let results: Map<string, TfTensor>
    try {
      results = await this.#run(given)
    } finally {
      for (const { tensor } of given.values()) tensor.dispose()
    }
    for (const { input, output } of this.#state.flatMap(({ parts }) => parts)) {
      this.#tensors.get(input)!.dispose()
      this.#tensors.set(input, results.get(output)!)
    }
    const metrics = new Map<string, number>()
    for (const name of this.#metrics) {
      const tensor = results.get(name)!
      metrics.set(name, (await tensor.data())[0]!)
      tensor.dispose()
    }
    const fed = [...feeds.values()].reduce((sum, tensor) => sum + tensor.byteLength, 0)
    const { steps, runs, batchBytes } = this.#traffic
    const moved = fed + FLOAT_BYTES * metrics.size
    this.#traffic = { ...this.#traffic, steps: steps + 1, runs: runs + 1, batchBytes: batchBytes + moved }
    return metrics
  }

  write(state: Feeds): void {
    for (const [name, given] of state) {
      const vector = this.#state.find(each => each.name === name)
      const values = given.view() as Float32Array
      invariant(
        vector?.length === values.length,
        `state ${name} takes ${vector?.length ?? 0} values, got ${values.length}`,
      )
      for (const part of vector.parts) {
        const { input, offset, shape } = part
        const slice = values.slice(offset, offset + sizeOf(shape))
        this.#tensors.get(input)?.dispose()
        this.#tensors.set(input, this.#placed(slice, part))
      }
      this.#count(values.byteLength)
    }
  }

  async read(): Promise<Map<string, Tensor>> {
    const found = new Map<string, Tensor>()
    for (const { name, length, parts } of this.#state) {
      const vector = new Float32Array(length)
      for (const part of parts) vector.set(await this.#elements(part), part.offset)
      this.#count(vector.byteLength)
      found.set(name, Tensor.of('float32', [length], vector))
    }
    return found
  }

  close(): void {
    for (const tensor of this.#tensors.values()) tensor.dispose()
    this.#tensors.clear()
    this.#plan?.close()
    this.#plan = null
  }

  /** The first step records. */
  async #run(given: ReadonlyMap<string, GivenTensor>): Promise<Map<string, TfTensor>> {
    if (this.#plan) {
      const fed = [...given].map(([name, { tensor }]) => [name, tensor] as const)
      return this.#plan.run(new Map([...this.#tensors, ...fed]))
    }
    const state = [...this.#tensors].map(([name, tensor]): [string, GivenTensor] => {
      const layout = this.#layouts.get(name)
      return [name, { tensor, dtype: 'float32', ...(layout ? { layout } : {}) }]
    })
    const outputs = new Map<string, Layout | undefined>(this.#metrics.map(name => [name, undefined]))
    for (const { parts } of this.#state) {
      for (const { input, output } of parts) outputs.set(output, this.#layouts.get(input))
    }
    const { plan, results } = await compile(this.#tfjs, this.#graph, new Map([...state, ...given]), outputs)
    this.#plan = plan
    return results
  }

  /** A part's elements on the device, in its layout. */
  #placed(values: Float32Array, { input, shape }: StatePart): TfTensor {
    const tensor = this.#tfjs.tf.tensor(values, [...shape], 'float32')
    return this.#moved(tensor, onnxLayout(shape.length), this.#layouts.get(input) ?? onnxLayout(shape.length))
  }

  async #elements({ input, shape }: StatePart): Promise<ArrayLike<number>> {
    const tensor = this.#tensors.get(input)
    invariant(tensor, `state ${input} was never written`)
    const order = onnxLayout(shape.length)
    const layout = this.#layouts.get(input) ?? order
    if (isOnnx(layout)) return tensor.data()
    const copy = this.#tfjs.tf.engine().runKernel('Identity', { x: tensor }, {}) as TfTensor
    const moved = this.#moved(copy, layout, order)
    const data = await moved.data()
    moved.dispose()
    return data
  }

  /** A tensor with its axes in another order; the given one is freed. */
  #moved(tensor: TfTensor, from: Layout, to: Layout): TfTensor {
    if (from.join() === to.join()) return tensor
    const perm = to.map(axis => from.indexOf(axis))
    const moved = this.#tfjs.tf.engine().runKernel('Transpose', { x: tensor }, { perm }) as TfTensor
    tensor.dispose()
    return moved
  }

  #count(bytes: number): void {
    this.#traffic = { ...this.#traffic, stateBytes: this.#traffic.stateBytes + bytes }
  }
}

const CONVOLUTIONS: ReadonlySet<string> = new Set(['Conv', 'ConvTranspose', 'ConvInputGrad'])

/**
 * Weights of convolutions lie as the kernels want them, from step to step; what the optimizer carries beside a weight
 * (the part of the same place and shape in another vector) lies like it. By graph input; others are in ONNX's order.
 */
function layoutsOf(graph: Graph, state: readonly StateVector[]): Map<string, Layout> {
  const filters = new Set<Value>()
  for (const { opType, inputs } of graph.nodes) {
    if (CONVOLUTIONS.has(opType) && inputs[1]) filters.add(inputs[1])
  }
  const names = new Set([...filters].map(value => value.name))
  const parts = state.flatMap(vector => vector.parts)
  const place = ({ offset, shape }: StatePart) => `${offset} ${shape.join()}`
  const places = new Set(parts.filter(({ input }) => names.has(input)).map(place))
  const found = parts.filter(part => part.shape.length > 2 && places.has(place(part)))
  return new Map(found.map(({ input, shape }) => [input, filterLayout(shape.length)]))
}
