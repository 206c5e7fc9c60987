/** The server of static files: what it gives, with which headers, and what it never gives. */

import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { findFile, serveStatic } from '../../src/serve/static-files.ts'
import { EnvironmentError } from '../../src/util/errors.ts'
import { errorOf } from '../support/errors.ts'

const folder = mkdtempSync(join(tmpdir(), 'swa-static-'))
const root = join(folder, 'root')
mkdirSync(join(root, 'ort'), { recursive: true })
writeFileSync(join(root, 'index.html'), '<p>page</p>')
writeFileSync(join(root, 'a b.mjs'), 'export {}')
writeFileSync(join(root, 'ort', 'x.wasm'), Uint8Array.of(0, 97, 115, 109))
writeFileSync(join(folder, 'secret.txt'), 'secret')
symlinkSync(join(folder, 'secret.txt'), join(root, 'link.txt'))
symlinkSync(join(root, 'index.html'), join(root, 'inside.html'))
const server = await serveStatic(root, 0)

interface Answer {
  readonly status: number
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  readonly body: string
}

/** A request with the path as it is written: fetch would tidy it up. */
function ask(path: string, options: { method?: string; host?: string } = {}): Promise<Answer> {
  const { port } = new URL(server.url)
  return new Promise((resolve, reject) => {
    const { method = 'GET', host = `127.0.0.1:${port}` } = options
    request({ host: '127.0.0.1', port, path, method, headers: { host } }, response => {
      let body = ''
      response.on('data', (chunk: Buffer) => (body += chunk.toString('latin1')))
      response.on('end', () => resolve({ status: response.statusCode!, headers: response.headers, body }))
    })
      .on('error', reject)
      .end()
  })
}

test('files come with their type and length, folders as their index.html', async () => {
  const rows: readonly (readonly [path: string, type: string, length: number])[] = [
    ['/', 'text/html; charset=utf-8', 11],
    ['/index.html?x=1#y', 'text/html; charset=utf-8', 11],
    ['/a%20b.mjs', 'text/javascript; charset=utf-8', 9],
    ['/ort/x.wasm', 'application/wasm', 4],
    ['/inside.html', 'text/html; charset=utf-8', 11],
  ]
  for (const [path, type, length] of rows) {
    const { status, headers, body } = await ask(path)
    assert.is(status, 200, path)
    assert.is(headers['content-type'], type, path)
    assert.is(headers['content-length'], String(length), path)
    assert.is(body.length, length, path)
  }
})

test('every answer makes the page isolated, and lets it reach this server only', async () => {
  for (const path of ['/', '/none']) {
    const { headers } = await ask(path)
    assert.is(headers['cross-origin-opener-policy'], 'same-origin', path)
    assert.is(headers['cross-origin-embedder-policy'], 'require-corp', path)
    assert.match(String(headers['content-security-policy']), "connect-src 'self'")
    assert.match(String(headers['content-security-policy']), "default-src 'none'")
    assert.is(headers['x-content-type-options'], 'nosniff', path)
  }
})

test('nothing outside of the folder is given', async () => {
  const paths = [
    ...[
      '/../secret.txt',
      '/%2e%2e/secret.txt',
      '/ort/../../secret.txt',
      '/..%2fsecret.txt',
      '/..\\secret.txt',
    ],
    ...['/link.txt', '/%00', '/index.html%00.txt', '/%zz', '//etc/passwd', '/ort', '/none.html'],
  ]
  for (const path of paths) {
    const { status, body } = await ask(path)
    assert.is(status, 404, path)
    assert.not.match(body, 'secret')
  }
  assert.is(await findFile(root, 'index.html'), null)
})

test('HEAD has no body; other methods and other names of this machine are refused', async () => {
  const head = await ask('/', { method: 'HEAD' })
  assert.equal([head.status, head.body, head.headers['content-length']], [200, '', '11'])
  assert.is((await ask('/', { method: 'POST' })).status, 405)
  assert.is((await ask('/', { host: 'evil.example' })).status, 403)
  assert.is((await ask('/', { host: 'localhost:1' })).status, 200)
})

test('a port in use is an error of the environment', async () => {
  const { port } = new URL(server.url)
  const error = await errorOf(serveStatic(root, Number(port)))
  assert.instance(error, EnvironmentError)
  assert.match(error.message, `cannot listen on 127.0.0.1:${port}`)
})

test('a folder that is not there is an error', async () => {
  assert.match((await errorOf(serveStatic(join(folder, 'none'), 0))).message, /serve .*none/)
})

test.after(async () => {
  await server.close()
  rmSync(folder, { recursive: true, force: true })
})

test.run()
