/** The page's side of its worker. */

import { startWorker } from '../../browser/page/shared/start-worker.ts'
import type { TaskRequest, TaskResponse, Tasks } from './messages.ts'

interface Waiting {
  readonly resolve: (result: Tasks[keyof Tasks]['result']) => void
  readonly reject: (error: Error) => void
}

export class TaskWorker {
  readonly #worker: Worker
  readonly #waiting = new Map<number, Waiting>()
  #last = 0

  constructor(url: URL) {
    this.#worker = startWorker(url, 'computing')
    this.#worker.addEventListener('message', ({ data }: MessageEvent<TaskResponse>) => {
      const waiting = this.#waiting.get(data.id)
      this.#waiting.delete(data.id)
      if ('error' in data) waiting?.reject(new Error(data.error))
      else waiting?.resolve(data.result)
    })
    this.#worker.addEventListener('error', event => {
      const error = new Error(`the worker failed: ${event.message || 'it could not be started'}`)
      for (const { reject } of this.#waiting.values()) reject(error)
      this.#waiting.clear()
    })
  }

  do<K extends keyof Tasks>(task: K, given: Tasks[K]['arguments']): Promise<Tasks[K]['result']> {
    const id = ++this.#last
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject })
      const request: TaskRequest<K> = { id, task, arguments: given }
      this.#worker.postMessage(request)
    })
  }
}
