/** A model for inference: recorded once for each set of input shapes and wanted outputs. */

import type { Graph } from '../../ir/graph.ts'
import type { DType } from '../../tensor/dtype.ts'
import type { Tensor } from '../../tensor/tensor.ts'
import { InputError } from '../../util/errors.ts'
import type { Feeds, Port } from '../engine.ts'
import { compile, type GivenTensor } from './compile.ts'
import { fromTfArray, tfDTypeOf, toTfArray } from './elements.ts'
import type { Plan } from './plan.ts'
import type { Backend, TfModule, TfTensor } from './tf.ts'

/** tfjs and the backend that it runs on. */
export interface Tfjs {
  readonly tf: TfModule
  readonly backend: Backend
}

/** Recordings kept; the oldest gives way. Each holds its own copies of what it made of the weights. */
const MAX_PLANS = 4

export class TfjsModel {
  readonly inputs: readonly Port[]
  readonly outputs: readonly Port[]
  readonly #tfjs: Tfjs
  readonly #graph: Graph
  readonly #plans = new Map<string, { plan: Plan; dtypes: ReadonlyMap<string, DType> }>()

  /** `graph`: of opset 18 or later, initializers resident. */
  constructor(tfjs: Tfjs, graph: Graph) {
    this.#tfjs = tfjs
    this.#graph = graph
    const port = ({ name, type }: Graph['inputs'][number]): Port =>
      type?.kind === 'tensor'
        ? { name, dtype: type.dtype, shape: type.shape ?? [] }
        : { name, dtype: null, shape: [] }
    this.inputs = graph.feeds.map(port)
    this.outputs = graph.outputs.map(port)
  }

  async run(feeds: Feeds, outputs: readonly string[] | null): Promise<Map<string, Tensor>> {
    const wanted = outputs ?? this.outputs.map(({ name }) => name)
    const key = JSON.stringify([wanted, this.inputs.map(({ name }) => this.#checked(feeds, name).dims)])
    const given = new Map(
      this.inputs.map(({ name }) => [name, upload(this.#tfjs.tf, feeds.get(name)!, name)]),
    )
    try {
      const known = this.#plans.get(key)
      const tensors = new Map([...given].map(([name, { tensor }]) => [name, tensor]))
      if (known) return await download(known.plan.run(tensors), known.dtypes)
      const compiled = await compile(
        this.#tfjs,
        this.#graph,
        given,
        new Map(wanted.map(name => [name, undefined])),
      )
      this.#remember(key, compiled)
      return await download(compiled.results, compiled.dtypes)
    } finally {
      for (const { tensor } of given.values()) tensor.dispose()
    }
  }

  close(): void {
    for (const { plan } of this.#plans.values()) plan.close()
    this.#plans.clear()
  }

  #checked(feeds: Feeds, name: string): Tensor {
    const tensor = feeds.get(name)
    const port = this.inputs.find(input => input.name === name)!
    if (!tensor) throw new InputError(`tfjs: input ${name} is not fed`)
    const fits =
      tensor.dims.length === port.shape.length &&
      port.shape.every((dim, i) => typeof dim !== 'number' || dim === tensor.dims[i])
    if (tensor.dtype !== port.dtype || !fits) {
      throw new InputError(
        `tfjs: input ${name} should be ${port.dtype}[${port.shape.join()}], found ${tensor.dtype}[${tensor.dims.join()}]`,
      )
    }
    return tensor
  }

  #remember(key: string, recorded: { plan: Plan; dtypes: ReadonlyMap<string, DType> }): void {
    this.#plans.set(key, recorded)
    const [oldest] = this.#plans
    if (this.#plans.size <= MAX_PLANS || !oldest) return
    oldest[1].plan.close()
    this.#plans.delete(oldest[0])
  }
}

/** A fed tensor on the device. */
export function upload(tf: TfModule, tensor: Tensor, name: string): GivenTensor {
  const what = `input ${name}`
  const dtype = tfDTypeOf(tensor.dtype, what)
  return { tensor: tf.tensor(toTfArray(tensor, what), [...tensor.dims], dtype), dtype: tensor.dtype }
}

/** Results in memory; their tensors are freed. */
async function download(
  results: ReadonlyMap<string, TfTensor>,
  dtypes: ReadonlyMap<string, DType>,
): Promise<Map<string, Tensor>> {
  const found = new Map<string, Tensor>()
  try {
    for (const [name, tensor] of results) {
      found.set(name, fromTfArray(await tensor.data(), tensor.shape, dtypes.get(name)!))
    }
  } finally {
    for (const tensor of results.values()) tensor.dispose()
  }
  return found
}
