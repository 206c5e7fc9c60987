/** What an engine says of the tfjs package that it runs on. */

import type { Backend } from './tf.ts'

export interface Loaded {
  readonly package: string
  readonly backend: Backend
  /** Kernels run on a GPU. */
  readonly gpu: boolean
  /** What a person should know about it. */
  readonly notes: readonly string[]
}
