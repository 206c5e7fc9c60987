/** The committed protobuf code is what proto/onnx.proto gives. */

import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { inFolder } from './support/files.ts'

test('src/serde/generated equals a fresh generation (else: npm run proto)', () =>
  inFolder(folder => {
    execFileSync(process.execPath, ['tools/build/proto.mjs', '--out', folder], { stdio: 'ignore' })
    for (const name of ['onnx.js', 'onnx.d.ts']) {
      const committed = readFileSync(join('src/serde/generated', name), 'utf8')
      assert.ok(readFileSync(join(folder, name), 'utf8') === committed, `${name} differs`)
    }
    return Promise.resolve()
  }))

test.run()
