/** Locks on folders: who is refused, and which locks are worth nothing. */

import { existsSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import { hostname, tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { lockFolder } from '../../src/util/lock.ts'
import { errorOf } from '../support/errors.ts'

const folder = mkdtempSync(join(tmpdir(), 'swa-lock-'))
const lock = join(folder, '.lock')
/** A process that lives as long as this one, and a number that no process has. */
const PARENT = process.ppid
const NOBODY = 2 ** 22 + 1

test('a second worker is refused until the first is done', async () => {
  const release = await lockFolder(folder)
  const error = await errorOf(lockFolder(folder))
  assert.is(error.exitCode, 4)
  assert.match(error.message, /: this process works in this folder$/)
  assert.match(error.cure!, /wait for it to end, or choose another folder/)
  await release()
  assert.not.ok(existsSync(lock))
  await (
    await lockFolder(folder)
  )()
})

const owner = (pid: number, host: string, began: string | null) => JSON.stringify({ pid, host, began })
const rows: readonly [string, string, number, RegExp | null][] = [
  ['a process that is gone', owner(NOBODY, hostname(), null), 0, null],
  ['our own number, of a time before', owner(process.pid, hostname(), '1'), 0, null],
  ['a later process of the same number', owner(PARENT, hostname(), '1'), 0, null],
  ['another machine, now', owner(1, 'elsewhere.test', null), 0, /process 1 on elsewhere\.test works/],
  ['another machine, long ago', owner(1, 'elsewhere.test', null), 3600, null],
  ['an empty lock, now', '', 0, /another process works/],
  ['an empty lock, long ago', '', 3600, null],
  ['no JSON, long ago', '{"pid"', 3600, null],
]
for (const [name, text, age, refusal] of rows) {
  test(`lock of ${name}: ${refusal ? 'refused' : 'taken over'}`, async () => {
    writeFileSync(lock, text)
    const time = Date.now() / 1000 - age
    utimesSync(lock, time, time)
    if (refusal) assert.match((await errorOf(lockFolder(folder))).message, refusal)
    else await (await lockFolder(folder))()
    assert.is(existsSync(lock), refusal !== null)
    rmSync(lock, { force: true })
  })
}

test.after(() => {
  rmSync(folder, { recursive: true, force: true })
})

test.run()
