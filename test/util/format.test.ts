/** Numbers as people read them. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { formatBytes, formatCount, formatDuration, formatRate, formatTable } from '../../src/util/format.ts'

test('bytes, counts, durations and rates', () => {
  assert.equal([0, 1023, 1536, 200 * 2 ** 20].map(formatBytes), ['0 B', '1023 B', '1.5 KiB', '200 MiB'])
  assert.is(formatCount(1234567), '1,234,567')
  assert.equal([3.21, 59.4, 245, 7620, Infinity].map(formatDuration), [
    '3.2 s',
    '59 s',
    '4 min 05 s',
    '2 h 07 min',
    '?',
  ])
  assert.equal([0.4321, 8.24, 2230.4].map(formatRate), ['0.43/s', '8.2/s', '2230/s'])
})

test('tables align text left and numbers right', () => {
  assert.is(
    formatTable([
      ['name', 'n'],
      ['a', '12'],
      ['long', '3'],
    ]),
    'name  n\na     12\nlong   3',
  )
})

test.run()
