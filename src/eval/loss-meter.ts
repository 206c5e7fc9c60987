/** A loss of a person's own, an ONNX graph, measured on what a model gives. */

import type { Batch } from '../data/index.ts'
import type { Activation } from '../passes/index.ts'
import type { Engine, Feeds, Runner, SessionOptions } from '../runtime/engine.ts'
import { Tensor } from '../tensor/tensor.ts'
import type { Metrics } from './metrics.ts'

/** Where an input of the loss graph comes from. */
export type LossInput =
  | { readonly from: 'output'; readonly output: string }
  /** What the model applies its last activation to. */
  | { readonly from: 'logits'; readonly output: string; readonly activation: Activation }
  | { readonly from: 'target'; readonly target: string; readonly adapt: (batch: Tensor) => Tensor }
  | { readonly from: 'constant'; readonly tensor: Tensor }

export interface LossToMeasure {
  /** The graph as a file. */
  readonly bytes: Uint8Array
  readonly inputs: ReadonlyMap<string, LossInput>
  /** `loss`, and the other outputs. */
  readonly outputs: readonly string[]
}

export class LossMeter {
  readonly #runner: Runner
  readonly #loss: LossToMeasure
  readonly #sums = new Map<string, number>()
  #samples = 0

  private constructor(runner: Runner, loss: LossToMeasure) {
    this.#runner = runner
    this.#loss = loss
  }

  static async open(engine: Engine, loss: LossToMeasure, session: SessionOptions): Promise<LossMeter> {
    return new LossMeter(await engine.openRunner(loss.bytes, session), loss)
  }

  /** The model outputs that the loss reads. */
  get outputs(): string[] {
    return [
      ...new Set([...this.#loss.inputs.values()].flatMap(input => ('output' in input ? input.output : []))),
    ]
  }

  /** Adds a batch; the mean over the data weighs batches by their samples. */
  async add(outputs: ReadonlyMap<string, Tensor>, batch: Batch): Promise<void> {
    const feeds: Feeds = new Map(
      [...this.#loss.inputs].map(([name, input]) => [name, valueOf(input, outputs, batch)] as const),
    )
    const found = await this.#runner.run(feeds, this.#loss.outputs)
    for (const [name, tensor] of found)
      this.#sums.set(name, (this.#sums.get(name) ?? 0) + batch.size * tensor.toNumbers()[0]!)
    this.#samples += batch.size
  }

  result(): Metrics {
    const figures = [...this.#sums].map(([name, sum]) => [name, sum / this.#samples] as const)
    // `loss` is one of the outputs: that was checked when the graph was opened.
    return { samples: this.#samples, ...Object.fromEntries(figures) } as Metrics
  }

  close(): Promise<void> {
    return this.#runner.close()
  }
}

function valueOf(input: LossInput, outputs: ReadonlyMap<string, Tensor>, { targets, size }: Batch): Tensor {
  if (input.from === 'constant') return input.tensor
  if (input.from === 'target') return input.adapt(targets.get(input.target)!)
  const output = firstRows(outputs.get(input.output)!, size)
  return input.from === 'output' ? output : logitsOf(output, input.activation)
}

/** Without the rows that only fill a batch. */
function firstRows(tensor: Tensor, rows: number): Tensor {
  if (tensor.dims[0] === rows) return tensor
  const bytes = tensor.data as Uint8Array
  return new Tensor(
    tensor.dtype,
    [rows, ...tensor.dims.slice(1)],
    bytes.subarray(0, (bytes.length / tensor.dims[0]!) * rows),
  )
}

const INVERSES: Readonly<Record<Activation, ((y: number) => number) | null>> = {
  none: null,
  // Logits but for a number that is the same for all classes, which no softmax of them shows.
  softmax: y => Math.log(Math.max(y, Number.MIN_VALUE)),
  log_softmax: null,
  sigmoid: y => Math.log(Math.max(y, Number.MIN_VALUE)) - Math.log(Math.max(1 - y, Number.MIN_VALUE)),
}

/** What an activation was applied to, from what it gave. */
function logitsOf(output: Tensor, activation: Activation): Tensor {
  const inverse = INVERSES[activation]
  return inverse ? Tensor.of(output.dtype, output.dims, output.toNumbers().map(inverse)) : output
}
