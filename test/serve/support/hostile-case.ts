/** What all hostile requests have in common: how they may end, and how that is checked. */

import * as assert from 'uvu/assert'
import { bytesOf, exchange, post, type ExchangeOptions, type RawAnswer, type Sent } from './raw-http.ts'

export interface HostileCase {
  readonly name: string
  readonly sent: Sent
  /**
   * refused: 4xx, 501, 503, or a connection closed without a word; any: it may also be fine; else the exact status,
   * where the client must learn it.
   */
  readonly end: 'refused' | 'any' | number
  readonly options?: ExchangeOptions
  /** Checks an answer of 200: the case is then well-formed after all. */
  readonly verify?: (answer: RawAnswer) => void
}

export const SUM = '/v2/models/sum/infer'

/** A request to the model `sum`. */
export function sumCase(
  name: string,
  body: string | Uint8Array,
  end: HostileCase['end'],
  headers: Readonly<Record<string, string>> = {},
): HostileCase {
  return { name, sent: post(SUM, body, headers), end }
}

/** Folders, modules and lines of the server's code: nothing of it is a client's business. */
const LEAK = /node:|node_modules|\.[cm]?[tj]s\b|\n\s+at |\/(?:work|home|tmp|root|usr|opt|var)\/|onnxruntime/

const LIMIT_MS = 5000

/** Sends it; a failure says which case it was and what was sent. */
export async function attack(port: number, row: HostileCase): Promise<void> {
  const started = performance.now()
  const outcome = await exchange(port, row.sent, { limitMs: LIMIT_MS, ...row.options })
  const shown =
    typeof row.sent === 'function'
      ? ''
      : `\nsent: ${JSON.stringify(bytesOf(row.sent).subarray(0, 600).toString('latin1'))}`
  const what = `${row.name}, after ${Math.round(performance.now() - started)} ms${shown}`
  assert.is.not(outcome.kind, 'hung', `no answer: ${what}`)
  if (outcome.kind !== 'answered') {
    assert.is.not(typeof row.end, 'number', `closed without an answer: ${what}`)
    return
  }
  // Where two answers are waited for, the second would be one to bytes that are no request.
  const most = Math.max(1, (row.options?.answers ?? 1) - 1)
  assert.ok(outcome.answers.length <= most, `${outcome.answers.length} answers: ${what}`)
  for (const answer of outcome.answers) checkAnswer(answer, row, what)
}

function checkAnswer(answer: RawAnswer, { end, verify }: HostileCase, what: string): void {
  const { status, headers, body } = answer
  const got = `\ngot: ${status} ${body.subarray(0, 400).toString('utf8')}`
  const refused = (status >= 400 && status < 500) || status === 501 || status === 503
  if (typeof end === 'number') assert.is(status, end, `${what}${got}`)
  else assert.ok(refused || (end === 'any' && status < 400), `${what}${got}`)
  if (!refused) {
    verify?.(answer)
    return
  }
  if (body.length === 0) return
  assert.match(headers.get('content-type') ?? '', /^application\/json/, `${what}${got}`)
  const error = JSON.parse(body.toString('utf8')) as Record<string, unknown>
  assert.equal(Object.keys(error), ['error'], `${what}${got}`)
  assert.is(typeof error['error'], 'string', `${what}${got}`)
  assert.not.match(error['error'] as string, LEAK, `${what}${got}`)
  assert.ok(body.length < 4096, `${what}${got}`)
}

/** Several at a time. */
export async function attackAll(port: number, rows: readonly HostileCase[], at = 8): Promise<void> {
  const queue = [...rows]
  const failures: unknown[] = []
  const worker = async () => {
    for (let row = queue.shift(); row !== undefined; row = queue.shift()) {
      await attack(port, row).catch((error: unknown) => failures.push(error))
    }
  }
  await Promise.all(Array.from({ length: at }, worker))
  if (failures.length === 0) return
  const texts = failures.slice(0, 8).map(error => (error as Error).message)
  throw new Error(`${failures.length} of ${rows.length} cases\n${texts.join('\n\n')}`)
}
