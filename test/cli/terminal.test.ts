/** What the terminal shows of progress. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { Terminal } from '../../src/cli/terminal.ts'

/** What an action writes on stderr, as if that were a terminal. */
function written(action: (terminal: Terminal) => void): string {
  const { stderr } = process
  const { isTTY, columns } = stderr
  const write = Reflect.get<typeof stderr, 'write'>(stderr, 'write')
  const texts: string[] = []
  stderr.write = (text: string | Uint8Array) => texts.push(String(text)) > 0
  stderr.isTTY = true
  stderr.columns = 40
  try {
    action(new Terminal({ json: false }))
  } finally {
    Object.assign(stderr, { write, isTTY, columns })
  }
  return texts.join('')
}

const state = { label: 'train', total: 10, unit: 'steps' }

test('no rate is shown before there is one, and no time left at the end', () => {
  const text = written(terminal => {
    terminal.progress({ ...state, done: 1, detail: 'loss 1' })
  })
  assert.is(text, '\r\x1b[Ktrain 10% (1/10 steps)  loss 1')
  const end = written(terminal => {
    terminal.progress({ ...state, done: 0 })
    terminal.progress({ ...state, done: 10 })
  })
  assert.match(end, /train 100% \(10\/10 steps, [\d.e+]+\/s\)$/)
})

test('work that alternates with other work keeps its rate', () => {
  const text = written(terminal => {
    terminal.progress({ ...state, done: 0 })
    terminal.progress({ ...state, done: 10 })
    terminal.progress({ ...state, label: 'validate', done: 1 })
    terminal.progress({ ...state, done: 2 })
  })
  assert.match(text, /validate 10% \(1\/10 steps\)/)
  assert.match(text, /train 20% \(2\/10 steps, [\d.e+]+\/s, /)
})

test('a line is never wider than the terminal', () => {
  const text = written(terminal => {
    terminal.progress({ ...state, done: 1, detail: 'x'.repeat(100) })
  })
  assert.is(text.replace('\r\x1b[K', '').length, 39)
})

test.run()
