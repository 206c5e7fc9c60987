/** The server that the page came from, and the key that it may want: kept here, and nowhere else. */

import { InferenceClient, InferenceError } from '../client/client.ts'
import type { PageModel, PageServer, PageTraffic } from '../http/page-messages.ts'
import type { Source } from './messages.ts'
import { fromClient, toClient, type Tensors } from './tensors.ts'

/** An answer with the time that it took, as the page sees it. */
export interface Answer {
  readonly outputs: Tensors
  readonly ms: number
}

export class Connection {
  readonly #base: URL
  #key: string | null = null
  #client: InferenceClient

  constructor(base: URL) {
    this.#base = base
    this.#client = new InferenceClient(base.href)
  }

  useKey(key: string): void {
    this.#key = key
    this.#client = new InferenceClient(this.#base.href, { key })
  }

  models(): Promise<PageServer> {
    return this.#json('page/models.json')
  }

  traffic(): Promise<PageTraffic> {
    return this.#json('page/traffic.json')
  }

  async infer({ name, version }: PageModel, inputs: Tensors): Promise<Answer> {
    const given = Object.fromEntries([...inputs].map(([input, tensor]) => [input, toClient(tensor)]))
    const started = performance.now()
    const { outputs } = await this.#client.infer(name, given, { version })
    const ms = performance.now() - started
    return {
      outputs: new Map(Object.entries(outputs).map(([output, tensor]) => [output, fromClient(tensor)])),
      ms,
    }
  }

  /** How a worker gets a file that the server named. */
  source(url: string): Source {
    return { url: new URL(url.replace(/^\//, ''), this.#base).href, headers: this.#headers }
  }

  get #headers(): Readonly<Record<string, string>> {
    return this.#key === null ? {} : { Authorization: `Bearer ${this.#key}` }
  }

  async #json<T>(path: string): Promise<T> {
    const response = await fetch(new URL(path, this.#base), { headers: this.#headers })
    if (response.ok) return (await response.json()) as T
    const { error } = (await response.json().catch(() => ({}))) as { error?: string }
    throw new InferenceError(response.status, error ?? `the server answered ${response.status}`, null)
  }
}

/** Whether the server asks for a key, or for another one. */
export function wantsKey(error: unknown): boolean {
  return error instanceof InferenceError && error.status === 401
}
