/**
 * How far an average is that may be interrupted: `.<name>.unfinished.jsonl` beside it. The first line says what is averaged,
 * each other one how many segments and bytes are on the disk, and the hashes of what was read for them.
 */

import { createHash } from 'node:crypto'
import { appendFile, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { unfinishedPath, writeError } from '../util/files.ts'
import { VERSION } from '../util/version.ts'
import type { Journal } from '../serde/index.ts'
import type { MemberDigests } from './member-digests.ts'
import type { AveragePlan } from './plan.ts'

interface Note {
  readonly segments: number
  readonly bytes: number
  /** Tensor -> its hash in each member. */
  readonly digests: Readonly<Record<string, readonly string[]>>
}

export class AverageJournal implements Journal {
  readonly #path: string
  readonly #digests: MemberDigests
  readonly segments: number
  readonly bytes: number

  private constructor(path: string, digests: MemberDigests, { segments, bytes }: Omit<Note, 'digests'>) {
    this.#path = path
    this.#digests = digests
    this.segments = segments
    this.bytes = bytes
  }

  /** Reads how far the file that `file` is to become is; begins anew where another average is there, or none. */
  static async open(
    plan: AveragePlan,
    kind: string,
    file: string,
    digests: MemberDigests,
  ): Promise<AverageJournal> {
    const path = `${unfinishedPath(file)}.jsonl`
    const key = keyOf(plan, kind)
    const notes = await readNotes(path, key)
    const last = notes.at(-1)
    const length = await stat(unfinishedPath(file)).then(
      ({ size }) => size,
      () => 0,
    )
    if (last && last.bytes <= length) {
      for (const note of notes) digests.restore(note.digests)
      return new AverageJournal(path, digests, last)
    }
    try {
      await writeFile(path, `${JSON.stringify({ key })}\n`)
    } catch (error) {
      throw writeError(file, error)
    }
    return new AverageJournal(path, digests, { segments: 0, bytes: 0 })
  }

  async note(segments: number, bytes: number): Promise<void> {
    const note: Note = { segments, bytes, digests: this.#digests.takeNew() }
    await appendFile(this.#path, `${JSON.stringify(note)}\n`)
  }

  /** When the file is finished. */
  async close(): Promise<void> {
    await rm(this.#path, { force: true })
  }

  /** When nothing of it is of use. */
  static async discard(file: string): Promise<void> {
    await rm(unfinishedPath(file), { force: true })
    await rm(`${unfinishedPath(file)}.jsonl`, { force: true })
  }
}

/** What must be the same for a file to be gone on with. */
function keyOf(plan: AveragePlan, kind: string): string {
  return createHash('sha256')
    .update(JSON.stringify([VERSION, kind, plan]))
    .digest('hex')
}

/** The notes of a journal with this key; a last line that is not whole was cut off by the interruption. */
async function readNotes(path: string, key: string): Promise<Note[]> {
  const text = await readFile(path, 'utf8').catch(() => '')
  const notes: Note[] = []
  const [head = '', ...lines] = text.split('\n').slice(0, -1)
  try {
    if ((JSON.parse(head) as { key?: unknown }).key !== key) return []
    for (const line of lines) notes.push(JSON.parse(line) as Note)
  } catch {
    return notes
  }
  return notes
}
