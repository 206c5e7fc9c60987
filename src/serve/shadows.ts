/** Sends requests that were answered to a shadow version too, and measures how far its answers are from those given. */

import type { Feeds } from '../runtime/engine.ts'
import { DTYPES } from '../tensor/dtype.ts'
import type { Tensor } from '../tensor/tensor.ts'
import type { Results } from './execution/work.ts'
import type { Metrics } from './metrics.ts'
import { largest } from './protocol/classification.ts'
import type { TensorRequest } from './protocol/request.ts'
import type { ServedModel } from './repository/served-model.ts'
import type { ServedVersion } from './repository/served-version.ts'

/** Requests that a shadow may have waiting: it must not take the machine from those who are answered. */
const MOST_WAITING = 8
const TIMEOUT_MS = 30_000

/** What is further off, infinitely for instance, counts as this: the sum of all stays a number. */
const MOST_DIFFERENCE = 1e6

/** Memory that the inputs lie in. */
interface Held {
  retain(): void
  release(): void
}

export class Shadows {
  readonly #metrics: Metrics

  constructor(metrics: Metrics) {
    this.#metrics = metrics
  }

  /** Lets the shadow of a model, where it has one, compute what `answering` has computed. */
  follow(
    model: ServedModel,
    answering: ServedVersion,
    { inputs, outputs }: TensorRequest,
    results: Results,
    body: Held | undefined,
  ): void {
    const shadow = model.shadowOf(answering)
    if (shadow === undefined) return
    const labels = { model: model.name, version: answering.version, shadow: shadow.version }
    if (!shadow.ready || shadow.scheduler.waiting >= MOST_WAITING) {
      this.#metrics.shadowRequests.inc({ ...labels, result: 'dropped' })
      return
    }
    body?.retain()
    this.#compare(
      shadow,
      inputs,
      outputs.map(({ name }) => name),
      results,
      labels,
    )
      .catch(() => this.#metrics.shadowRequests.inc({ ...labels, result: 'failed' }))
      .finally(() => body?.release())
  }

  async #compare(
    shadow: ServedVersion,
    inputs: Feeds,
    outputs: readonly string[],
    results: Results,
    labels: { readonly model: string; readonly version: string; readonly shadow: string },
  ): Promise<void> {
    const started = performance.now()
    const others = await shadow.infer(inputs, { outputs, timeout: TIMEOUT_MS, started })
    let sameClass = true
    for (const [output, tensor] of results) {
      const other = others.get(output)
      if (other === undefined || !DTYPES[tensor.dtype].float) continue
      const difference = relativeDifference(tensor, other)
      this.#metrics.shadowDifference.observe({ ...labels, output }, Math.min(difference, MOST_DIFFERENCE))
      if (tensor.dims.length === 2 && !sameClasses(tensor, other)) sameClass = false
    }
    this.#metrics.shadowRequests.inc({ ...labels, result: sameClass ? 'compared' : 'other_class' })
  }
}

/**
 * max |a - b| / max |a|, of elements that are not equal and of those that are finite. Infinite where the shapes differ, or
 * an element is NaN or infinite on one side alone.
 */
export function relativeDifference(a: Tensor, b: Tensor): number {
  if (a.size !== b.size) return Infinity
  const [x, y] = [a.toNumbers(), b.toNumbers()]
  let most = 0
  let difference = 0
  for (const [i, value] of x.entries()) {
    const other = y[i]!
    if (Number.isFinite(value)) most = Math.max(most, Math.abs(value))
    if (value === other || (Number.isNaN(value) && Number.isNaN(other))) continue
    const apart = Math.abs(value - other)
    difference = Math.max(difference, Number.isNaN(apart) ? Infinity : apart)
  }
  return difference === 0 ? 0 : difference / most
}

/** Whether every row of two outputs [samples, classes] has the same largest element. */
function sameClasses(a: Tensor, b: Tensor): boolean {
  const [samples, classes] = a.dims as [number, number]
  const [x, y] = [Float64Array.from(a.toNumbers()), Float64Array.from(b.toNumbers())]
  for (let i = 0; i < samples; i++) {
    const row = (values: Float64Array) => largest(values.subarray(i * classes, (i + 1) * classes), 1)[0]
    if (row(x) !== row(y)) return false
  }
  return true
}
