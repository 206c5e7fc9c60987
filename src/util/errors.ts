/** The error classes of the toolkit; each carries the process exit code that the command line reports. */

export interface ErrorDetails {
  /** The error that led to this one. */
  cause?: unknown
  /** What the person can do about it, one sentence. */
  cure?: string
}

/** Base class: a message that names file, node or tensor, what was expected and what was found. */
export class SwaError extends Error {
  readonly exitCode: number = 1
  readonly cure: string | undefined

  constructor(message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause })
    this.name = new.target.name
    this.cure = details.cure
  }
}

/** The command or option makes no sense (exit code 2). */
export class UsageError extends SwaError {
  override readonly exitCode = 2
}

/** A model, data set or checkpoint is wrong, damaged or hostile (exit code 3). */
export class InputError extends SwaError {
  override readonly exitCode = 3
}

/** A well-formed model asks for something that this toolkit cannot do (exit code 3). */
export class UnsupportedError extends SwaError {
  override readonly exitCode = 3
}

/** The machine lacks something: device, library, disk space, memory (exit code 4). */
export class EnvironmentError extends SwaError {
  override readonly exitCode = 4
}

/** A check that was asked for came out negative; its result is complete (exit code 5). */
export class CheckError extends SwaError {
  override readonly exitCode = 5
}

/** The person interrupted the work; state was saved (exit code 130). */
export class InterruptedError extends SwaError {
  override readonly exitCode = 130
}

/** Throws an `internal:` error when an invariant of our own code is broken. */
export function invariant(condition: unknown, message: string): asserts condition {
  if (!condition) throw new SwaError(`internal: ${message}`)
}

/** The message of anything that was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
