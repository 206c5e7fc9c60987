/** The README's table of operators is the one that the code makes. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { supportTable, writtenTable } from '../../tools/support-table.ts'

test('the README is up to date', () => {
  assert.is(writtenTable(), supportTable(), 'run `npm run support-table`')
})

test('states of operators that everyone knows', () => {
  const row = (state: string) =>
    supportTable()
      .split('\n')
      .find(line => line.startsWith(`| ${state}`)) ?? ''
  assert.match(row('gradient of its own'), /`LSTM`/)
  assert.match(row('gradient through its definition'), /`com\.microsoft\.SkipLayerNormalization`/)
  assert.match(row('gradients stop'), /`ArgMax`/)
  assert.match(row('refused: is quantized'), /`QLinearConv`/)
})

test.run()
