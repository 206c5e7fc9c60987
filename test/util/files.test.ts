/** Atomic files: all or nothing. */

import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { messageOf } from '../../src/util/errors.ts'
import { AtomicFile, sweepTemporaryFiles, withAtomicFile, writeFileAtomic } from '../../src/util/files.ts'
import { errorOf } from '../support/errors.ts'

const folder = await mkdtemp(join(tmpdir(), 'swa-files-'))

test('nothing stands under the name before the commit, and the old content stays until then', async () => {
  const path = join(folder, 'a.txt')
  await writeFile(path, 'old')
  const file = await AtomicFile.create(path)
  await file.write(Buffer.from('new'))
  assert.is(await readFile(path, 'utf8'), 'old')
  await file.commit()
  assert.is(await readFile(path, 'utf8'), 'new')
  assert.equal(await readdir(folder), ['a.txt'])
})

test('a failed write leaves the old file and no temporary one', async () => {
  const path = join(folder, 'a.txt')
  const failing = withAtomicFile(path, async file => {
    await file.write(Buffer.from('half'))
    throw new Error('stop')
  })
  const message = await failing.then(() => 'no error', messageOf)
  assert.is(message, 'stop')
  assert.is(await readFile(path, 'utf8'), 'new')
  assert.equal(await readdir(folder), ['a.txt'])
})

test('positional writes fill what was appended', async () => {
  const path = join(folder, 'b.bin')
  await withAtomicFile(path, async file => {
    await file.write(new Uint8Array([1, 2, 3, 4]))
    await file.write(new Uint8Array([9]), 1)
    assert.is(file.position, 4)
  })
  assert.equal([...(await readFile(path))], [1, 9, 3, 4])
})

test('a folder that does not exist is named, with the cure', async () => {
  const path = join(folder, 'no', 'c.txt')
  const error = await errorOf(writeFileAtomic(path, 'x'))
  assert.is(error.exitCode, 4)
  assert.ok(error.message.startsWith(`write ${path}: ENOENT`), error.message)
  assert.is(error.cure, 'create the folder first')
})

test('temporary files of dead processes are swept, those of living ones are not', async () => {
  const dead = '.x.onnx.999999999.0123abcd.tmp'
  const alive = `.x.onnx.${process.pid}.0123abcd.tmp`
  await writeFile(join(folder, dead), '')
  await writeFile(join(folder, alive), '')
  assert.equal(await sweepTemporaryFiles(folder), [dead])
  assert.ok((await readdir(folder)).includes(alive))
})

test.after(async () => {
  await rm(folder, { recursive: true })
})

test.run()
