/** Serving as a library call; the HTTP server is loaded when one is started. */

import type { ServeOptions } from './options.ts'
import type { RunningServer } from './server.ts'

export type { ServeOptions } from './options.ts'
export type { RunningServer } from './server.ts'
export { InferenceClient, InferenceError } from './client/client.ts'
export type { ClientOptions, InferOptions, InferResult } from './client/client.ts'
export type { ClientTensor } from './client/tensor.ts'

/**
 * Loads models and answers requests; fails where there is nothing to serve or no port. Where bodies are large, node's flag
 * `--no-incremental-marking` makes the server faster (the command sets it).
 */
export async function startServer(options: ServeOptions): Promise<RunningServer> {
  const server = await import('./server.ts')
  return server.startServer(options)
}
