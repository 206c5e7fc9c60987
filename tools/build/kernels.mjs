/**
 * Compiles src/averaging/assembly/kernels.ts (AssemblyScript) into src/averaging/generated/kernels.js, as text, so that
 * every bundler takes it along. Run by `npm run kernels`; `--out <folder>` writes elsewhere, for a test to compare.
 */

import { execFileSync } from 'node:child_process'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('../../', import.meta.url))
const option = process.argv.indexOf('--out')
const out = option < 0 ? join(root, 'src/averaging/generated') : process.argv[option + 1]
// By its command: its types would change those of the language's own library for everything that is checked with it.
const compiler = join(root, 'node_modules/assemblyscript/bin/asc.js')
const flags = ['-O3', '--runtime', 'stub', '--noAssert', '--importMemory', '--enable', 'simd']

const folder = await mkdtemp(join(tmpdir(), 'swa-onnx-kernels-'))
try {
  const wasm = join(folder, 'kernels.wasm')
  const args = [compiler, 'src/averaging/assembly/kernels.ts', '--outFile', wasm, ...flags]
  execFileSync(process.execPath, args, { cwd: root, stdio: ['ignore', 'inherit', 'inherit'] })
  const text = (await readFile(wasm)).toString('base64')
  const header = '// Made by `npm run kernels` from ../assembly/kernels.ts.'
  await mkdir(out, { recursive: true })
  await writeFile(join(out, 'kernels.js'), `${header}\nexport const KERNELS = '${text}'\n`)
  await writeFile(
    join(out, 'kernels.d.ts'),
    `${header}\n/** A WebAssembly module, in base64. */\nexport const KERNELS: string\n`,
  )
} finally {
  await rm(folder, { recursive: true })
}
