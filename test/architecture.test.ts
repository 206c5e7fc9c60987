/** The import law of the design: folders depend only on folders before them, and libraries stay in their places. */

import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { test } from 'uvu'
import * as assert from 'uvu/assert'

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..')
const src = join(root, 'src')

/** Pipeline order: a folder may import from the folders before it. */
const ORDER = [
  'util',
  'tensor',
  'remote',
  'ir',
  'serde',
  'ops',
  'passes',
  'autodiff',
  'runtime',
  'data',
  'averaging',
  'batchnorm',
  'eval',
  'train',
  'report',
  'browser',
  'serve',
  'cli',
]

/** `ir` and `ops` know no protobuf although `serde` comes before `ops`; these imports are forbidden on top of the order. */
const FORBIDDEN: Record<string, readonly string[]> = {
  ops: ['serde'],
  passes: ['serde'],
  autodiff: ['serde'],
}

/** Libraries that one folder alone may import. */
const LIBRARY_HOME: readonly (readonly [library: RegExp, folder: string])[] = [
  [/^protobufjs/, 'serde'],
  [/^onnxruntime-/, 'runtime'],
  [/^@tensorflow\//, 'runtime'],
  [/^yargs/, 'cli'],
  [/^sharp$/, 'data'],
  [/^@aws-sdk\//, 'remote'],
  [/^(@fastify\/|fastify|typebox|prom-client|pino)/, 'serve'],
]

const MAX_LINES = 400

interface Import {
  readonly file: string
  readonly from: string
  readonly specifier: string
}

const files = readdirSync(src, { recursive: true, encoding: 'utf8' })
  .filter(name => name.endsWith('.ts') && !/generated|assembly/.test(name))
  .map(name => join(src, name))

function importsOf(file: string): Import[] {
  const text = readFileSync(file, 'utf8')
  const specifiers = text.matchAll(/(?:from|import)\s*\(?\s*'([^']+)'/g)
  const folder = relative(src, file).split('/')[0]!
  return [...specifiers].map(match => ({ file: relative(root, file), from: folder, specifier: match[1]! }))
}

const imports = files.flatMap(importsOf)

test('every folder of src has a place in the order', () => {
  const folders = readdirSync(src, { withFileTypes: true }).filter(entry => entry.isDirectory())
  assert.equal(
    folders.map(folder => folder.name).filter(name => !ORDER.includes(name)),
    [],
  )
})

test('imports point one way', () => {
  const violations = imports.filter(({ file, from, specifier }) => {
    if (!specifier.startsWith('.') || from.endsWith('.ts')) return false
    const target = relative(src, resolve(root, dirname(file), specifier)).split('/')[0]!
    if (FORBIDDEN[from]?.includes(target)) return true
    return target.endsWith('.ts') || ORDER.indexOf(target) > ORDER.indexOf(from)
  })
  assert.equal(
    violations.map(({ file, specifier }) => `${file} imports ${specifier}`),
    [],
  )
})

test('libraries stay in their folders', () => {
  const violations = imports.filter(({ from, specifier }) =>
    LIBRARY_HOME.some(([library, home]) => library.test(specifier) && from !== home),
  )
  assert.equal(
    violations.map(({ file, specifier }) => `${file} imports ${specifier}`),
    [],
  )
})

test('src never imports tools or tests', () => {
  const violations = imports.filter(({ specifier }) => /(^|\/)(tools|test)\//.test(specifier))
  assert.equal(violations, [])
})

test('a file is one idea: at most 400 lines', () => {
  const long = files
    .map(file => ({ file: relative(root, file), lines: readFileSync(file, 'utf8').split('\n').length }))
    .filter(({ lines }) => lines > MAX_LINES)
  assert.equal(long, [])
})

test.run()
