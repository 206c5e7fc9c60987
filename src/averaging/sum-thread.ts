/** A thread that sums ranges. */

import { parentPort } from 'node:worker_threads'
import { answer } from '../util/thread.ts'
import { buffersOf, sumHandlers, type SumRequests } from './sum-messages.ts'

answer<SumRequests>(parentPort!, sumHandlers(), buffersOf)
