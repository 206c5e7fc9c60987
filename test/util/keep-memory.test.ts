/**
 * Freed memory stays: glibc takes a block from its own heap, and keeps it there, up to the size that it has learned
 * (mallopt(3)); a larger one is mapped, and unmapped at once. So where a block comes from shows what it has learned.
 */

import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import ts from 'typescript'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { notTried } from '../support/not-tried.ts'

/** As JavaScript: a process that reads TypeScript frees large blocks by itself. */
const CODE = ts
  .transpile(readFileSync(new URL('../../src/util/keep-memory.ts', import.meta.url), 'utf8'), {
    target: ts.ScriptTarget.ES2022,
  })
  .replace('export ', '')

/** Bytes by which the heap of a process grows when it asks for so many. */
function growth(prepare: string, bytes: number): number {
  const script = `
    import { readFileSync } from 'node:fs'
    ${prepare}
    await new Promise(resolve => setTimeout(resolve, 50))
    const heap = () => {
      const [, from, to] = /^([0-9a-f]+)-([0-9a-f]+) .*\\[heap\\]$/m.exec(readFileSync('/proc/self/maps', 'utf8'))
      return parseInt(to, 16) - parseInt(from, 16)
    }
    const before = heap()
    globalThis.block = new ArrayBuffer(${bytes})
    console.log(heap() - before)`
  return Number(execFileSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' }))
}

const { header } = process.report.getReport() as { header: { glibcVersionRuntime?: string } }

if (header.glibcVersionRuntime === undefined) notTried(test, 'freed memory: the C library is not glibc')
else {
  test('blocks up to 16 MiB are kept', () => {
    const MIB = 1 << 20
    assert.ok(growth('', 8 * MIB) < MIB)
    assert.ok(growth(`${CODE}; keepFreedMemory()`, 8 * MIB) > 7 * MIB)
    assert.ok(growth(`${CODE}; keepFreedMemory()`, 24 * MIB) < MIB)
  })
}

test.run()
