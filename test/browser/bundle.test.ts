/** The bundles for browsers: nothing of Node in them, and no library but those that belong there. */

import { readFileSync } from 'node:fs'
import { isAbsolute, join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { BuildResult, Metafile } from 'esbuild'
import { buildLibrary, buildPage, buildServePage, root } from '../../tools/build/browser.mjs'

type Built = BuildResult & { metafile: Metafile }

const out = join(root, 'dist/browser')
const library = (await buildLibrary(out, { write: false })) as Built
const page = (await buildPage(join(out, 'page'), { write: false })) as Built
const served = (await buildServePage(join(root, 'dist/serve/page'), { write: false })) as Built

/** Input files of which something is in the output. */
function usedInputs({ metafile }: Built): string[] {
  const used = Object.values(metafile.outputs).flatMap(({ inputs }) =>
    Object.entries(inputs).filter(([, { bytesInOutput }]) => bytesInOutput > 0),
  )
  return [...new Set(used.map(([path]) => path))]
}

/** What the outputs still import by name. */
function externals({ metafile }: Built): string[] {
  const imports = Object.values(metafile.outputs).flatMap(output => output.imports)
  return [...new Set(imports.filter(({ external }) => external).map(({ path }) => path))].sort()
}

for (const [name, built] of Object.entries({ library, page, served })) {
  test(`the ${name} has nothing of Node's modules in it`, () => {
    assert.equal(
      usedInputs(built).filter(path => path.startsWith('absent:') || path.includes('node:')),
      [],
    )
  })
}

test('the library uses no global of Node, but where protobufjs asks whether there is one', () => {
  assert.ok(usedInputs(library).filter(path => path.startsWith('src/')).length > 100)
  const { text } = library.outputFiles!.find(({ path }) => path.endsWith('index.js'))!
  const globals = /\b(Buffer\.(from|alloc|concat|compare)|process\.(env|pid)|setImmediate\()/
  const lines = text.split('\n').filter(line => globals.test(line) && !isLibraryLine(line))
  // The one pause that asks first whether it is in Node.
  assert.equal(
    lines.map(line => line.trim()),
    ['if (typeof setImmediate === "function") return new Promise((resolve) => setImmediate(resolve));'],
  )
})

/** Lines of protobufjs, which asks for Buffer and does without. */
function isLibraryLine(line: string): boolean {
  return [
    'protobufjs/src/util/minimal.js',
    'protobufjs/src/writer_buffer.js',
    'protobufjs/src/reader_buffer.js',
  ]
    .map(file => readFileSync(join(root, 'node_modules', file), 'utf8'))
    .some(source => source.includes(line.trim()))
}

test('the library leaves onnxruntime-web to the page that uses it, and nothing else', () => {
  assert.equal(externals(library), ['onnxruntime-web/wasm', 'onnxruntime-web/webgpu'])
})

for (const [name, built] of Object.entries({ page, served })) {
  test(`the ${name} needs nothing from outside`, () => {
    assert.equal(
      externals(built).filter(path => !isAbsolute(path)),
      [],
    )
    const worker = Object.keys(built.metafile.outputs).find(path => path.endsWith('worker.js'))
    assert.ok(worker)
  })
}

test.run()
