/**
 * Compiles proto/onnx.proto into src/serde/generated/ (static code and its types). Run by `npm run proto`;
 * `--out <folder>` writes elsewhere, so that a test can compare the committed files with a fresh generation.
 */

import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import pbjs from 'protobufjs-cli/pbjs.js'
import pbts from 'protobufjs-cli/pbts.js'

const root = fileURLToPath(new URL('../../', import.meta.url))
const option = process.argv.indexOf('--out')
const out = option < 0 ? join(root, 'src/serde/generated') : process.argv[option + 1]
const script = join(out, 'onnx.js')
const types = join(out, 'onnx.d.ts')

await mkdir(out, { recursive: true })
process.chdir(root)
const pbjsArguments = [
  ...[
    '--target',
    'static-module',
    '--wrap',
    'esm',
    '--dependency',
    'protobufjs/minimal.js',
    '--root',
    'swa-onnx',
  ],
  ...[
    '--keep-case',
    '--no-create',
    '--no-verify',
    '--no-convert',
    '--no-delimited',
    '--no-typeurl',
    '--no-service',
  ],
]
// The types are read from comments that the script itself can do without.
await promisify(pbjs.main)([...pbjsArguments, '--out', script, 'proto/onnx.proto'])
await promisify(pbts.main)(['--no-comments', '--out', types, script])
await promisify(pbjs.main)([...pbjsArguments, '--no-comments', '--out', script, 'proto/onnx.proto'])
console.error(`wrote ${relative(root, script)} and ${relative(root, types)}`)
