/** Finds a tfjs package for Node: with CUDA, with TensorFlow on the CPU, or in plain JavaScript. */

import type { Backend } from './tf.ts'

/** The package that was loaded. */
export interface Loaded {
  readonly package: string
  readonly backend: Backend
  /** Kernels run on a GPU. */
  readonly gpu: boolean
  /** What a person should know about it. */
  readonly notes: readonly string[]
}
