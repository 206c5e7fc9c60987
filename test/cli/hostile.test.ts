/** Wrong inputs: one line that says what was expected and found, the exit code, and nothing on stdout. */

import { spawn } from 'node:child_process'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { Tensor } from '../../src/tensor/tensor.ts'
import { writeNpy } from '../support/npy.ts'
import { CLASSIFIER, inFolder, LINES, renderLines, ROOT, swa } from './support/cli.ts'

async function refuses(args: readonly string[], code: number, message: RegExp, cure?: string): Promise<void> {
  const found = await swa(...args)
  assert.is(found.code, code, found.stderr)
  assert.is(found.stdout, '')
  const lines = found.stderr.trimEnd().split('\n')
  // Which engine it is, is said before it has anything to do.
  const [first, second, ...rest] = lines.filter(line => !line.startsWith('engine cpu '))
  assert.match(first!, /^error: /)
  assert.match(first!, message)
  if (cure !== undefined) assert.match(second ?? '', `  help: ${cure}`)
  assert.equal(rest, [], 'one line of error, one of help')
}

test('a file that is missing, a folder, no model, or cut off', () =>
  inFolder(async folder => {
    const cut = join(folder, 'cut.onnx')
    await writeFile(cut, (await readFile(join(ROOT, CLASSIFIER))).subarray(0, 300_000))
    await Promise.all([
      refuses(['inspect', 'none.onnx'], 3, /read none\.onnx: ENOENT/),
      refuses(['inspect', 'src'], 3, /read src: expected a regular file/),
      refuses(['inspect', 'package.json'], 3, /package\.json: not a valid ONNX file/),
      refuses(['inspect', cut, '--json'], 3, /cut\.onnx: not a valid ONNX file/, 'the file is truncated'),
    ])
  }))

test('data that are missing, unlabelled, or of more classes than the model knows', () =>
  inFolder(async folder => {
    const data = await renderLines(join(folder, 'lines'), 2)
    const evaluate = (path: string, ...more: string[]) => [
      'evaluate',
      CLASSIFIER,
      '--data',
      path,
      ...LINES,
      ...more,
    ]
    const image = await readFile(join(data, '0', '0000.png'))
    const loose = join(folder, 'loose')
    await mkdir(loose)
    await writeFile(join(loose, 'a.png'), image)
    await refuses(evaluate(join(folder, 'none')), 3, /none: no such file or folder/)
    await refuses(evaluate(loose), 3, /expected a folder of class folders/, 'sort the 1 images')
    await refuses(evaluate(data, '--output', 'y'), 2, /no output is called "y", found "softmax_0\.tmp_0"/)
    await mkdir(join(data, '90'))
    await writeFile(join(data, '90', 'a.png'), image)
    await refuses(evaluate(data), 3, /has 3 classes, the model has 2 outputs/, 'leave out the classes')
  }))

test('a model without batch norms has nothing to recalibrate, and nothing is written', () =>
  inFolder(async folder => {
    const out = join(folder, 'out.onnx')
    const mlp = 'fixtures/models/mlp-ts/model.onnx'
    const data = join(folder, 'data')
    await mkdir(data)
    await writeNpy(join(data, 'x.npy'), Tensor.of('float32', [4, 4, 12], new Float32Array(4 * 48)))
    await writeNpy(join(data, 'y.npy'), Tensor.of('int32', [4], [0, 1, 2, 3]))
    await refuses(['recalibrate', mlp, '--data', data, '-o', out], 2, /no batch normalization with stored/)
    await refuses(['recalibrate', mlp, '--data', data, '-o', join(folder, 'no', 'out.onnx')], 4, /no folder/)
    await refuses(['inspect', mlp, '--train', 'nothing*'], 2, /--train "nothing\*" matches none of/)
  }))

test('a reader that leaves early is no error', async () => {
  const command = `"${process.execPath}" --import tsx src/cli/main.ts inspect ${CLASSIFIER} --json | true`
  const child = spawn('sh', ['-c', command], { cwd: ROOT, stdio: ['ignore', 'ignore', 'pipe'] })
  let stderr = ''
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()))
  await new Promise(resolve => child.on('close', resolve))
  assert.is(stderr, '')
})

test.run()
