/** A thread that sums ranges. */

import { parentPort } from 'node:worker_threads'
import { answer } from '../util/thread.ts'
import { RangeSum } from './range-sum.ts'
import type { SumRequests } from './sum-messages.ts'

const sums = new RangeSum()

answer<SumRequests>(
  parentPort!,
  { sum: request => Promise.resolve().then(() => sums.run(request)) },
  ({ out, hashes }) => [...(out ? [out] : []), hashes.buffer as ArrayBuffer],
)
