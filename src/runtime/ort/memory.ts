/** Recognises that something failed for want of memory, in the words of ONNX Runtime, CUDA, cuDNN and cuBLAS. */

import { EnvironmentError, messageOf } from '../../util/errors.ts'
import { formatBytes } from '../../util/format.ts'

const WORDS =
  /failed to allocate memory|out of memory|BFCArena|CUDA failure 2\b|CUDNN_STATUS_\w*ALLOC|CUBLAS_STATUS_ALLOC_FAILED|bad alloc/i

const REQUESTED = /requested buffer of size (\d+)/i

/** What a message says of memory: null if it speaks of something else. */
export function memoryFailure(message: string): { readonly requested: number | null } | null {
  if (!WORDS.test(message)) return null
  const size = REQUESTED.exec(message)?.[1]
  return { requested: size === undefined ? null : Number(size) }
}

/** A failure for want of memory that nothing helped against as an error that says what would; others stay as they are. */
export function explainMemory(error: unknown, batchSize: number): Error {
  const failure = memoryFailure(messageOf(error))
  if (!failure) return error instanceof Error ? error : new Error(String(error))
  const { requested } = failure
  const missing = requested === null ? '' : ` (it had no block of ${formatBytes(requested)} left)`
  return new EnvironmentError(
    `training: one step on ${batchSize} samples does not fit into the memory of the device${missing}`,
    {
      cause: error,
      cure: `use a --batch-size smaller than ${batchSize}, or close what else uses the device`,
    },
  )
}
