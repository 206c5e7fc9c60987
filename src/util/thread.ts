/**
 * Requests to a worker thread and answers from it: numbered, strictly in order, errors with their class and cure. The
 * thread does not keep the process alive while nothing is asked of it.
 */

import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import { Worker, type MessagePort } from 'node:worker_threads'
import type * as Esbuild from 'esbuild'
import { EnvironmentError, InputError, messageOf, SwaError, UnsupportedError, UsageError } from './errors.ts'
import { inOrder, type Channel, type Handlers, type RequestTable } from './channel.ts'

interface WireError {
  readonly type: string
  readonly message: string
  readonly cure: string | undefined
}

interface Pending {
  readonly resolve: (result: never) => void
  readonly reject: (error: Error) => void
}

/** The classes that keep their identity across threads. */
const ERRORS = { SwaError, InputError, UnsupportedError, EnvironmentError, UsageError }

/** Bundles of this process: module -> script. */
const bundles = new Map<string, string>()

/**
 * Starts `<base>.js` or `<base>.ts`, whichever the file at `from` is beside: the package holds JavaScript; from a checkout,
 * under tsx, the thread gets a bundle, because teaching each thread TypeScript takes six times as long as a session.
 */
export function startWorker(base: string, from: string): Worker {
  if (!from.endsWith('.ts')) return new Worker(new URL(`${base}.js`, from))
  const { href } = new URL(`${base}.ts`, from)
  const script = bundles.get(href) ?? bundleOf(href)
  bundles.set(href, script)
  return new Worker(script, { eval: true })
}

/** A TypeScript module and all that it imports but packages, as one script. esbuild is there wherever tsx is. */
function bundleOf(href: string): string {
  const { buildSync } = createRequire(href)('esbuild') as typeof Esbuild
  const { outputFiles } = buildSync({
    ...{ entryPoints: [fileURLToPath(href)], write: false, logLevel: 'silent' },
    ...{ bundle: true, packages: 'external', platform: 'node', format: 'cjs', keepNames: true },
    // The script lies nowhere: packages are found, and read, as from the module.
    supported: { 'dynamic-import': false },
    define: { 'import.meta.url': JSON.stringify(href) },
  })
  return `(require => {${outputFiles[0]!.text}})(process.getBuiltinModule('node:module').createRequire(${JSON.stringify(href)}))`
}

/** The asking end. */
export class Thread<T extends RequestTable> implements Channel<T> {
  readonly #worker: Worker
  readonly #pending = new Map<number, Pending>()
  #nextId = 0
  #failure: Error | null = null

  /** `base`, `from`: the file that calls `answer` (startWorker); `name`: what the thread is called in errors. */
  constructor(base: string, from: string, name: string) {
    this.#worker = startWorker(base, from)
    this.#worker.unref()
    this.#worker.on('message', (response: { id: number; result?: unknown; error?: WireError }) => {
      this.#settle(response)
    })
    this.#worker.on('error', error => this.#fail(`the ${name} thread failed: ${messageOf(error)}`))
    this.#worker.on('exit', code => this.#fail(`the ${name} thread ended (code ${code})`))
  }

  /** Whether requests can still be made. */
  get alive(): boolean {
    return this.#failure === null
  }

  request<K extends keyof T>(
    kind: K,
    argument: T[K]['arguments'],
    transfer: ArrayBuffer[] = [],
  ): Promise<T[K]['result']> {
    if (this.#failure) return Promise.reject(this.#failure)
    const id = this.#nextId++
    return new Promise((resolve, reject) => {
      if (this.#pending.size === 0) this.#worker.ref()
      this.#pending.set(id, { resolve, reject })
      this.#worker.postMessage({ id, kind, argument }, transfer)
    })
  }

  /** Ends the thread; requests that have no answer yet fail. */
  async close(): Promise<void> {
    await this.#worker.terminate()
  }

  #settle({ id, result, error }: { id: number; result?: unknown; error?: WireError }): void {
    const pending = this.#pending.get(id)
    this.#pending.delete(id)
    if (this.#pending.size === 0) this.#worker.unref()
    if (error) pending?.reject(errorOf(error))
    else pending?.resolve(result as never)
  }

  #fail(message: string): void {
    this.#failure ??= new EnvironmentError(message)
    for (const { reject } of this.#pending.values()) reject(this.#failure)
    this.#pending.clear()
  }
}

function errorOf({ type, message, cure }: WireError): Error {
  const Class = ERRORS[type as keyof typeof ERRORS] as typeof SwaError | undefined
  return new (Class ?? EnvironmentError)(message, cure === undefined ? {} : { cure })
}

/** The answering end, in the thread. `transferOf` lists the buffers of an answer that are handed over. */
export function answer<T extends RequestTable>(
  port: MessagePort,
  handlers: Handlers<T>,
  transferOf: (result: T[keyof T]['result']) => ArrayBuffer[],
): void {
  const channel = inOrder(handlers)
  // A request that cannot be read, such as one with a buffer that was handed over before, would never be answered.
  port.on('messageerror', error => {
    throw error
  })
  port.on(
    'message',
    ({ id, kind, argument }: { id: number; kind: keyof T; argument: T[keyof T]['arguments'] }) => {
      channel.request(kind, argument).then(
        result => port.postMessage({ id, result }, transferOf(result)),
        (error: unknown) => {
          const type = error instanceof SwaError ? error.name : 'EnvironmentError'
          const cure = error instanceof SwaError ? error.cure : undefined
          port.postMessage({ id, error: { type, message: messageOf(error), cure } satisfies WireError })
        },
      )
    },
  )
}
