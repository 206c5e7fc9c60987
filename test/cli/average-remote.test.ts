/** `average` on URLs, in a process of its own. */

import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { AveragePlan } from '../../src/averaging/index.ts'
import type { AverageResult } from '../../src/eval/average-model.ts'
import { perturb } from '../averaging/support/checkpoints.ts'
import { startServer } from '../remote/support/server.ts'
import { inFolder, json, ROOT, swa } from './support/cli.ts'

const MODEL = join(ROOT, 'fixtures/models/bn_cnn-ts/model.onnx')

const server = await startServer()
test.after(() => server.close())

test('URLs average as files do, with a token where one is asked for', () =>
  inFolder(async folder => {
    const paths = [1, 2].map(i => join(folder, `copy-${i}.onnx`))
    for (const [i, path] of paths.entries()) {
      await perturb(MODEL, path, i)
      server.files.set(`/copy-${i + 1}.onnx`, await readFile(path))
      server.behaviours.set(`/copy-${i + 1}.onnx`, (request, response) => {
        if (request.headers.authorization === 'Bearer t0ken') return false
        response.writeHead(401).end()
        return true
      })
    }
    const urls = [1, 2].map(i => `${server.origin}/copy-${i}.onnx?signature=secret`)
    const [local, remote] = [join(folder, 'local.onnx'), join(folder, 'remote.onnx')]
    const refused = await swa('average', ...urls, '-o', remote)
    assert.is(refused.code, 3)
    assert.match(
      refused.stderr,
      `error: read ${server.origin}/copy-1.onnx: the server asks who you are (401)\n  help: check the address`,
    )
    process.env['SWA_ONNX_HTTP_TOKEN'] = `${new URL(server.origin).host}=t0ken`
    const [plan, result, done] = await Promise.all([
      json<AveragePlan>('average', ...urls, '--dry-run'),
      json<AverageResult>('average', ...urls, '-o', remote),
      swa('average', ...paths, '-o', local),
    ])
    assert.is(done.code, 0, done.stderr)
    assert.equal(await readFile(remote), await readFile(local))
    assert.not.match(JSON.stringify([plan, result]), 'secret')
    assert.is(result.into, `${server.origin}/copy-1.onnx`)
    const compared = await swa('average', ...urls, '-o', remote, '--force', '--val', folder)
    assert.is(compared.code, 2)
    assert.match(
      compared.stderr,
      `--val: expected local files to compare, found ${server.origin}/copy-1.onnx`,
    )
  }))

test('a URL is no output', async () => {
  for (const [out, shown] of [
    ['https://me:secret@host/x.onnx?secret', 'https://host/x.onnx'],
    ['s3://bucket/x.onnx', 's3://bucket/x.onnx'],
    ['file:///tmp/x.onnx', 'file:///tmp/x.onnx'],
  ] as const) {
    const { code, stderr } = await swa('average', MODEL, '-o', out)
    assert.is(code, 2)
    assert.match(stderr, `error: --out: expected the path of a local file, found the URL ${shown}\n`)
    assert.not.match(stderr, 'secret')
  }
})

test('the help names the schemes', async () => {
  const { stdout } = await swa('average', '--help')
  for (const scheme of ['https://', 's3://']) assert.ok(stdout.includes(scheme), stdout)
})

test.run()
