/** Names of files: without secrets, and still the way back to the file. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { addressOf, beside, isUrl, nameOf } from '../../src/util/location.ts'

test('paths are no URLs', () => {
  for (const path of ['a.onnx', '/a/b', 'C:\\a', 'c:/a', './https:/x', 'a//b', 's3:/x']) {
    assert.not.ok(isUrl(path), path)
    assert.is(nameOf(path), path)
  }
  for (const url of ['https://h/x', 'HTTP://h/x', 's3://b/k', 'file:///x']) assert.ok(isUrl(url), url)
})

test('a name has no secret and leads to the whole URL', () => {
  const signed = 'https://me:pass@h:8443/a/b-7.onnx?X-Amz-Signature=s/e@c#part'
  const name = nameOf(signed)
  assert.is(name, 'https://h:8443/a/b-7.onnx')
  assert.is(addressOf(name), signed)
  assert.is(nameOf(name), name)
  assert.is(nameOf(signed), name)
  assert.is(nameOf('https://h?secret'), 'https://h')
  assert.is(nameOf('http://[x/y?secret'), 'http://[x/y')
  assert.is(nameOf('https://me:pa/ss@h/x'), 'https://h/x')
  assert.is(nameOf('https://h/@scope/x'), 'https://h/@scope/x')
})

test('URLs that differ in their queries alone are different files', () => {
  const [a, b, c] = ['https://q/get?id=1', 'https://q/get?id=2', 'https://q/get?id=3']
  assert.equal([a, b, c, b, a].map(nameOf), [
    'https://q/get',
    'https://q(2)/get',
    'https://q(3)/get',
    'https://q(2)/get',
    'https://q/get',
  ])
  assert.equal(['https://q/get', 'https://q(2)/get'].map(addressOf), [a, b])
})

test('keys of S3 have no query', () => {
  assert.is(nameOf('s3://bucket/a?b#c@d'), 's3://bucket/a?b#c@d')
  assert.is(nameOf('s3://KEY:SECRET@bucket/a'), 's3://bucket/a')
})

test('the file beside another one', () => {
  for (const [base, relative, address] of [
    ['/m/model.onnx', 'sub/w.bin', '/m/sub/w.bin'],
    ['https://h/m/model.onnx?token=t', 'sub/w.bin', 'https://h/m/sub/w.bin?token=t'],
    ['https://h/model.onnx', 'w.bin', 'https://h/w.bin'],
    ['https://i/m/model.onnx', 'https:/evil/x', 'https://i/m/https%3A/evil/x'],
    ['https://i/m/model.onnx', '%2e%2e/x?y#z', 'https://i/m/%252e%252e/x%3Fy%23z'],
    ['https://i/m/model.onnx', 'a\\b ü', 'https://i/m/a%5Cb%20%C3%BC'],
    ['s3://bucket/m/model.onnx', 'sub/w.bin', 's3://bucket/m/sub/w.bin'],
    ['s3://bucket/model.onnx', 'w?.bin', 's3://bucket/w?.bin'],
  ])
    assert.is(addressOf(beside(nameOf(base!), relative!)), address)
  assert.is(beside('https://h/m/model.onnx?token=t', 'v.bin'), 'https://h/m/v.bin')
})

test.run()
