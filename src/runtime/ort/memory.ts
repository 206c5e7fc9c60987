/** Recognises that a run failed for want of memory, in the words of ONNX Runtime, CUDA, cuDNN and cuBLAS. */

const WORDS =
  /failed to allocate memory|out of memory|BFCArena|CUDA failure 2\b|CUDNN_STATUS_\w*ALLOC|CUBLAS_STATUS_ALLOC_FAILED|bad alloc/i

const REQUESTED = /requested buffer of size (\d+)/i

/** What a message says of memory: null if it speaks of something else. */
export function memoryFailure(message: string): { readonly requested: number | null } | null {
  if (!WORDS.test(message)) return null
  const size = REQUESTED.exec(message)?.[1]
  return { requested: size === undefined ? null : Number(size) }
}
