/** The test command itself: whatever swallows tests makes it fail. */

import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'

const ROOT = join(import.meta.dirname, '..')
mkdirSync(join(ROOT, '.cache'), { recursive: true })
// Inside the repository, so that uvu is found from there.
const folder = mkdtempSync(join(ROOT, '.cache', 'run-'))

const IMPORTS = "import { suite, test } from 'uvu'\nimport * as assert from 'uvu/assert'\n"
const ROWS: readonly (readonly [what: string, body: string, code: number, says: RegExp])[] = [
  ['a passing file', "test('a', () => assert.is(1, 1))\ntest.run()", 0, /1 passed, 0 failed/],
  ['a failing test', "test('a', () => assert.is(1, 2))\ntest.run()", 1, /exit code 1/],
  ['a forgotten run()', "test('a', () => undefined)", 1, /no summary: is `\.run\(\)` missing\?/],
  [
    'a throwing hook',
    "test.before(() => { throw new Error('x') })\ntest('a', () => undefined)\ntest.run()",
    1,
    /1 tests did not run to the end/,
  ],
  [
    'a leftover only',
    "test.only('a', () => undefined)\ntest('b', () => undefined)\ntest.run()",
    1,
    /1 skipped/,
  ],
  [
    'a suite that is not run',
    "const other = suite('other')\nother('b', () => undefined)\ntest('a', () => undefined)\ntest('c', () => undefined)\n",
    1,
    /no summary/,
  ],
  ['an early exit', "test('a', () => process.exit(0))\ntest('b', () => undefined)\ntest.run()", 1, /FAIL/],
  ['a crash', "test('a', () => process.kill(process.pid, 'SIGSEGV'))\ntest.run()", 1, /ended by SIGSEGV/],
]

for (const [i, [what, body, code, says]] of ROWS.entries()) {
  test(`${what} gives exit code ${code}`, () => {
    const place = join(folder, String(i))
    mkdirSync(place)
    writeFileSync(join(place, 'x.test.ts'), `${IMPORTS}${body}\n`)
    const run = spawnSync(process.execPath, ['--import', 'tsx', join(ROOT, 'test/run.ts'), '.', place], {
      encoding: 'utf8',
    })
    assert.is(run.status, code, run.stdout + run.stderr)
    assert.match(run.stdout, says)
  })
}

test('no matching file is a failure', () => {
  const run = spawnSync(
    process.execPath,
    ['--import', 'tsx', join(ROOT, 'test/run.ts'), 'no-such-file', folder],
    { encoding: 'utf8' },
  )
  assert.is(run.status, 1)
})

test.after(() => {
  rmSync(folder, { recursive: true, force: true })
})

test.run()
