/** What a server is told when it is started. */

import type { FastifyBaseLogger } from 'fastify'
import type { Engine } from '../runtime/engine.ts'
import type { HttpLimits } from './http/limits.ts'
import type { PageFolders } from './http/page.ts'
import type { Routing } from './repository/routing.ts'
import type { ModelSettings, VersionPolicy } from './repository/settings.ts'
import type { Place } from './repository/sources.ts'

export interface ServeOptions {
  /** Models: files, and folders of them. */
  readonly places: readonly Place[]
  /** Run folders whose current average is served. */
  readonly runs?: readonly Place[]
  readonly engine: Engine
  /** Default: 127.0.0.1. */
  readonly host?: string
  /** 0 takes a free one; default: 8000. */
  readonly port?: number
  readonly tls?: { readonly cert: Buffer; readonly key: Buffer }
  readonly apiKey?: string
  /** Switches loading and unloading by clients on. */
  readonly adminToken?: string
  /** Names by which browsers may address the server; default: those of this machine where only it can reach the server. */
  readonly hosts?: readonly string[]
  readonly settings?: Partial<ModelSettings>
  readonly limits?: Partial<HttpLimits>
  readonly versions?: VersionPolicy
  readonly routing?: ReadonlyMap<string, Routing>
  /** Milliseconds between looks for new versions; 0: none. Default: 1000. */
  readonly pollMs?: number
  /** Milliseconds between looks at the health of the device. Default: 15 s. */
  readonly healthMs?: number
  /** Milliseconds after which a run is taken for one that hangs. Default: 60 s. */
  readonly hangMs?: number
  /** Milliseconds that requests have to finish when a version or the server goes. Default: 30 s. */
  readonly drainMs?: number
  /** Milliseconds for which a server that stops says so and still answers. Default: 0. */
  readonly noticeMs?: number
  /** Milliseconds that connections without a request stay open when the server closes. Default: 1000. */
  readonly graceMs?: number
  /** Whether the page may fetch models, to run them in the browser. Default: where only this machine can. */
  readonly shareModels?: boolean
  /** Where the files of the page are. Default: where `npm run build` puts them. */
  readonly pageFolders?: PageFolders
  readonly logRequests?: boolean
  /** Stops the loading of the models, before there is a server; once there is one, `close` ends it. */
  readonly signal?: AbortSignal
  /** Default: warnings and errors, as JSON lines on stderr. */
  readonly logger?: FastifyBaseLogger
}
