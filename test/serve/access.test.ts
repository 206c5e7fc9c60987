/** Who may ask the server for what: keys, names of the server, pages of other sites. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { exchange } from './support/exchange.ts'
import { publish, scaleModel } from './support/small-models.ts'
import { closeAll, serve, temporaryFolder } from './support/running.ts'

const folder = temporaryFolder()
test.after(async () => {
  await closeAll()
  folder.remove()
})

test('keys open what they are for, and nothing else', async () => {
  const path = folder.path('keys', 'm.onnx')
  publish(path, await scaleModel(2))
  const running = await serve([{ path, name: null }], { apiKey: 'user-key', adminToken: 'admin-key' })
  const status = async (method: string, path: string, headers: Record<string, string> = {}) =>
    (await fetch(running.url + path, { method, headers })).status
  const bearer = (key: string) => ({ Authorization: `Bearer ${key}` })
  for (const path of ['/v2/health/live', '/v2/health/ready', '/openapi.json']) {
    assert.is(await status('GET', path), 200, path)
  }
  for (const path of ['/v2', '/v2/models/m', '/metrics', '/page/models.json', '/page/files/m/1/model.onnx']) {
    assert.is(await status('GET', path), 401, path)
    assert.is(await status('GET', path, bearer('user-kex')), 401, path)
    assert.is(await status('GET', path, bearer('user-key')), 200, path)
    assert.is(await status('GET', path, { 'X-API-Key': 'user-key' }), 200, path)
    assert.is(await status('GET', path, bearer('admin-key')), 200, path)
  }
  assert.is(await status('POST', '/v2/repository/models/m/load'), 401)
  assert.is(await status('POST', '/v2/repository/models/m/load', bearer('user-key')), 403)
  assert.is(await status('POST', '/v2/repository/models/m/load', bearer('admin-key')), 200)
  const upload = await fetch(`${running.url}/v2/repository/models/m/load`, {
    method: 'POST',
    headers: bearer('admin-key'),
    body: JSON.stringify({ parameters: { 'file:1/model.onnx': 'AAAA' } }),
  })
  assert.is(upload.status, 400)
  await running.close()
})

test('pages of other sites get nothing', async () => {
  const path = folder.path('sites', 'm.onnx')
  publish(path, await scaleModel(2))
  const running = await serve([{ path, name: null }])
  const { host } = new URL(running.url)
  const status = async (headers: Record<string, string>) =>
    (await exchange(running.url, 'GET /v2', '', headers)).status
  assert.is(await status({}), 200)
  assert.is(await status({ Host: 'any.name' }), 200, 'a program that names the server as it likes')
  // A browser sends no more than that with a GET to a name that a site has given this address.
  const browser = { 'Accept-Language': 'en' }
  assert.is(await status({ ...browser, Host: 'rebound.example' }), 403)
  assert.is(await status({ ...browser, Host: 'LOCALHOST:1' }), 200)
  assert.is(await status({ ...browser, Host: '[::1]:8000' }), 200)
  assert.is(await status({ Host: host, 'Sec-Fetch-Site': 'same-origin' }), 200)
  assert.is(await status({ Host: host, 'Sec-Fetch-Site': 'cross-site' }), 403)
  assert.is(await status({ Host: host, Origin: 'https://evil.example' }), 403)
  assert.is(await status({ Host: 'rebound.example', 'Sec-Fetch-Site': 'same-origin' }), 403)
  await running.close()
})

test('a link leads to the page from anywhere, and to nothing else', async () => {
  const path = folder.path('links', 'm.onnx')
  publish(path, await scaleModel(2))
  const running = await serve([{ path, name: null }])
  const { host } = new URL(running.url)
  const status = async (start: string, destination: string, site: string) => {
    const headers = { Host: host, 'Sec-Fetch-Site': site, 'Sec-Fetch-Mode': 'navigate' }
    return (await exchange(running.url, start, '', { ...headers, 'Sec-Fetch-Dest': destination })).status
  }
  // Whether the page has been built or not, it is not forbidden.
  const open = async (site: string) => [200, 404].includes(await status('GET /', 'document', site))
  assert.ok(await open('cross-site'))
  assert.ok(await open('same-site'), 'another port of this machine')
  assert.is(await status('GET /', 'iframe', 'cross-site'), 403)
  assert.is(await status('GET /v2', 'document', 'cross-site'), 403)
  assert.is(await status('POST /v2/models/m/infer', 'document', 'cross-site'), 403)
  await running.close()
})

test('pages of a named host are the own ones, also behind a proxy that sends another Host', async () => {
  const path = folder.path('proxied', 'm.onnx')
  publish(path, await scaleModel(2))
  const running = await serve([{ path, name: null }], { hosts: ['models.example'] })
  const { host } = new URL(running.url)
  const status = async (origin: string, site: string) =>
    (await exchange(running.url, 'GET /v2', '', { Host: host, Origin: origin, 'Sec-Fetch-Site': site }))
      .status
  assert.is(await status('https://models.example', 'same-origin'), 200)
  assert.is(await status('https://models.example:8443', 'same-origin'), 200)
  assert.is(await status('https://models.example.evil.example', 'same-origin'), 403)
  assert.is(await status('https://models.example', 'cross-site'), 403)
  assert.is(await status('http://localhost:1', 'same-origin'), 403)
  await running.close()
})

test.run()
