/** Learns from a profile of a trainer's first steps on which execution provider its nodes ran. */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { messageOf } from '../../util/errors.ts'
import type { SessionOptions } from '../engine.ts'
import { placementNotes } from './placement-notes.ts'
import type { SessionThread } from './session.ts'

/** What is expected of the placement. */
export interface ExpectedPlacement {
  /** The execution provider of all nodes, as ONNX Runtime names it. */
  readonly provider: string
  /** Names of nodes that belong on the CPU. */
  readonly onHost: ReadonlySet<string>
}

export class PlacementCheck {
  /** The options to open the session with: those given, and a profile. */
  readonly options: SessionOptions
  notes: readonly string[] = []
  readonly #expected: ExpectedPlacement
  /** Where the profile is written; null once it was read. */
  #folder: string | null

  constructor(options: SessionOptions, expected: ExpectedPlacement) {
    this.#expected = expected
    // A profile that the caller wants is the caller's: it goes on to the end of the session, and says it all.
    this.#folder = options.profile === undefined ? mkdtempSync(join(tmpdir(), 'swa-onnx-placement-')) : null
    this.options = this.#folder === null ? options : { ...options, profile: join(this.#folder, 'step') }
  }

  /**
   * Reads the profile the first time it is called, right after the request of the first steps. The session goes on: without
   * its profile it is as fast as one that never had any, and a new one would have to be given the model again.
   */
  async take(thread: SessionThread): Promise<void> {
    const prefix = this.options.profile
    if (this.#folder === null || prefix === undefined) return
    const folder = this.#folder
    this.#folder = null
    try {
      const placed = await thread.request('placement', { prefix })
      this.notes = placementNotes(placed, this.#expected.provider, this.#expected.onHost)
    } catch (error) {
      // Only a remark is lost, and that is one.
      this.notes = [`on which device the program's nodes run is not known: ${messageOf(error)}`]
    } finally {
      rmSync(folder, { recursive: true, force: true })
    }
  }

  close(): void {
    if (this.#folder !== null) rmSync(this.#folder, { recursive: true, force: true })
    this.#folder = null
  }
}
