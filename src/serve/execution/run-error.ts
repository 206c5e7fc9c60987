/** Errors of a run, as a client is told. */

import { messageOf } from '../../util/errors.ts'
import { ServeError } from '../protocol/errors.ts'

/**
 * What ONNX Runtime says about an input that it cannot compute (an index out of range, shapes that do not fit): the model
 * ran with others. Names of source files and of the machine's folders do not leave it.
 */
export function runError(error: unknown): ServeError {
  const message = messageOf(error)
  const lacking = /alloc|out of memory|CUDA|insufficient/i.test(message)
  const status = /Status Message:\s*(.*)/s.exec(message)?.[1] ?? message
  const sentence = status
    .replace(/\s*(?:\/|[A-Za-z]:\\)[^\s:]*(?::\d+)?(?:\s+\S+\([^)]*\))?/g, ' ')
    .replace(/^\s*onnxruntime:\s*/, '')
    .replace(/\s+/g, ' ')
    .trim()
  return lacking
    ? new ServeError('unavailable', 'the model had not the memory for this request', {
        retryAfter: 1,
        reason: 'BACKEND',
        cause: error,
      })
    : new ServeError('invalid', `the model cannot be run on this input: ${sentence.slice(0, 300)}`, {
        reason: 'BACKEND',
        cause: error,
      })
}
