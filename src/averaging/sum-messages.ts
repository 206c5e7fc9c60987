/** What a summing thread is asked. */

import type { RangeRequest, RangeResult } from './range-sum.ts'

export type SumRequests = { sum: { arguments: RangeRequest; result: RangeResult } }
