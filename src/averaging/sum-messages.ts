/** What an averaging thread is asked, and its answers. */

import type { Handlers } from '../util/channel.ts'
import {
  RangeCombine,
  type CombineRequest,
  type MeasureRequest,
  type MeasureResult,
} from './range-combine.ts'
import { RangeOrder, type OrderRequest, type OutResult } from './range-order.ts'
import { RangeSwag, type SwagRequest } from './range-swag.ts'
import { RangeSum, type RangeRequest, type RangeResult } from './range-sum.ts'

export type SumRequests = {
  sum: { arguments: RangeRequest; result: RangeResult }
  order: { arguments: OrderRequest; result: OutResult }
  measure: { arguments: MeasureRequest; result: MeasureResult }
  combine: { arguments: CombineRequest; result: OutResult }
  swag: { arguments: SwagRequest; result: OutResult }
}

/** The answers of one thread. */
export function sumHandlers(): Handlers<SumRequests> {
  let sums: RangeSum | null = null
  // Sums that come in several requests; other ones may come in between.
  let parts: RangeSum | null = null
  const orders = new RangeOrder()
  const combinations = new RangeCombine()
  const swag = new RangeSwag()
  const now = <T>(work: () => T) => Promise.resolve().then(work)
  return {
    sum: request =>
      now(() => {
        const whole = request.first && request.finish !== null
        return (whole ? (sums ??= new RangeSum()) : (parts ??= new RangeSum())).run(request)
      }),
    order: request => now(() => orders.run(request)),
    measure: request => now(() => combinations.measure(request)),
    combine: request => now(() => combinations.combine(request)),
    swag: request => now(() => swag.run(request)),
  }
}

/** The buffers of an answer that are handed over; means and sums are in memory that both sides have. */
export function buffersOf(result: SumRequests[keyof SumRequests]['result']): ArrayBuffer[] {
  if ('hashes' in result) return [result.hashes.buffer as ArrayBuffer]
  return 'out' in result ? [] : result.map(({ buffer }) => buffer as ArrayBuffer)
}
