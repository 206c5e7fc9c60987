/** The thread that tfjs runs in, in Node. */

import { parentPort } from 'node:worker_threads'
import { invariant } from '../../util/errors.ts'
import { transferables, type WireFeeds } from '../ort/messages.ts'
import { answer } from '../../util/thread.ts'
import { tfjsHandlers } from './handlers.ts'
import { loadTfjs } from './load.ts'

invariant(parentPort, 'this module runs in a worker thread')
let loading: ReturnType<typeof loadTfjs> | undefined
// Answers that are lists hold tensors: their memory is handed over.
answer(
  parentPort,
  tfjsHandlers(() => (loading ??= loadTfjs())),
  result => (Array.isArray(result) ? transferables(result as WireFeeds) : []),
)
