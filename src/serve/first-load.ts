/** The first load of models, before there is a server: it can be stopped. */

import type { Engine, Runner } from '../runtime/engine.ts'
import type { Repository } from './repository/repository.ts'
import { LAST_MS, within } from './shut-down.ts'

export class FirstLoad {
  readonly #signal: AbortSignal
  /** Aborted with the signal, but not any more once the models are loaded: they run until they are closed. */
  readonly #stopped = new AbortController()
  /** What models are to be loaded with. */
  readonly engine: Engine

  constructor(engine: Engine, signal: AbortSignal) {
    this.#signal = signal
    this.engine = stoppable(engine, this.#stopped.signal)
  }

  /** Loads what there is; fails with the reason of the signal, after a moment for sessions to end. */
  async run(repository: Repository): Promise<void> {
    let stop!: () => void
    const stopped = new Promise<void>(resolve => {
      stop = () => {
        this.#stopped.abort(this.#signal.reason)
        resolve()
      }
    })
    this.#signal.addEventListener('abort', stop)
    if (this.#signal.aborted) stop()
    const loaded = repository.update()
    await Promise.race([loaded, stopped])
    this.#signal.removeEventListener('abort', stop)
    if (!this.#signal.aborted) return
    const close = () => repository.close()
    await within(LAST_MS, loaded.then(close, close))
    this.#signal.throwIfAborted()
  }
}

/** An engine that opens and runs nothing more once a signal is aborted: a load ends at its next step. */
function stoppable(engine: Engine, signal: AbortSignal): Engine {
  return {
    ...engine,
    async openRunner(model, options) {
      signal.throwIfAborted()
      const runner = await engine.openRunner(model, options)
      const run = runner.run.bind(runner)
      return Object.assign(runner, {
        run: (...args: Parameters<Runner['run']>) =>
          signal.aborted ? Promise.reject(signal.reason as Error) : run(...args),
      })
    },
  }
}
