/** What a person writes in place of file names. */

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { listCheckpoints } from '../../src/averaging/index.ts'
import { errorOf } from '../support/errors.ts'

const root = mkdtempSync(join(tmpdir(), 'swa-list-'))
const at = (name: string) => join(root, name)

test.before(() => {
  for (const folder of ['many', 'empty', 'run/snapshots', '.hidden'])
    mkdirSync(at(folder), { recursive: true })
  const files = ['many/e-10.pt', 'many/e-9.pt', 'many/log.txt', 'many/.e-1.pt', 'many/[x]*.onnx']
  for (const file of [...files, 'run/last.onnx', 'run/snapshots/step-2.safetensors'])
    writeFileSync(at(file), '')
  writeFileSync(at('list.txt'), `# best\r\n${at('many/e-9.pt')}\n\n${at('run')}\n`)
})

test.after(() => {
  rmSync(root, { recursive: true })
})

const list = async (...given: string[]) =>
  (await listCheckpoints(given.map(item => (item.startsWith('@') ? `@${at(item.slice(1))}` : at(item))))).map(
    path => path.slice(root.length + 1),
  )

test('files, folders, run folders, patterns and lists, in order', async () => {
  assert.equal(await list('many/e-10.pt', 'not/there.onnx'), ['many/e-10.pt', 'not/there.onnx'])
  assert.equal(await list('many'), ['many/[x]*.onnx', 'many/e-9.pt', 'many/e-10.pt'])
  assert.equal(await list('run'), ['run/snapshots/step-2.safetensors'])
  assert.equal(await list('many/e-*.pt'), ['many/e-9.pt', 'many/e-10.pt'])
  assert.equal(await list('many/e-?.pt'), ['many/e-9.pt'])
  // A file of this very name.
  assert.equal(await list('many/[x]*.onnx'), ['many/[x]*.onnx'])
  assert.equal(await list('@list.txt'), ['many/e-9.pt', 'run/snapshots/step-2.safetensors'])
  const input = () => Promise.resolve(`${at('run/last.onnx')}\n`)
  assert.equal(await listCheckpoints(['@-'], input), [at('run/last.onnx')])
})

test('what names nothing is one error', async () => {
  for (const [given, message] of [
    [at('empty'), /^average: .*empty holds no checkpoint \(\.onnx, /],
    [at('many/z*'), /^average: no file matches .*z\*$/],
    [`@${at('none.txt')}`, /^average: the list .*none\.txt cannot be read: /],
  ] as const)
    assert.match((await errorOf(listCheckpoints([given]))).message, message)
  const nothing = await errorOf(listCheckpoints(['@-'], () => Promise.resolve('# none\n')))
  assert.is(nothing.message, 'average: the list standard input names no file')
})

test.run()
