/**
 * Builds what runs in browsers: in `browser/`, `index.js`, the library for bundlers (onnxruntime-web stays outside), and
 * `page/`, a static site that needs nothing else; in `serve/page/`, the page of `swa-onnx serve`, which takes
 * onnxruntime-web's files from the site. Usage: node tools/build/browser.mjs [--out <folder>]; the folder is dist.
 */

import { cp, mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { writeDigits } from './digits.mjs'

export const root = fileURLToPath(new URL('../../', import.meta.url))
const require = createRequire(import.meta.url)
const src = join(root, 'src')

/** Node's modules that have a stand-in; all others are absent, and it is an error if anything of them is used. */
const STAND_INS = { 'node:crypto': 'crypto.ts', 'node:os': 'os.ts' }

/** Modules that ask these for more than the stand-ins have; nothing of them is used. */
const NODE_ONLY = /src[\\/]util[\\/](files|lock)\.ts$/

/**
 * Our sources have no effect when they are imported, so that a module that only Node needs goes when nothing of it is
 * used. Node's own modules are empty, and packages that are for Node stay outside.
 */
export const browserOnly = {
  name: 'browser-only',
  setup(plugin) {
    plugin.onResolve({ filter: /^node:/ }, ({ path, importer }) => {
      const standIn = STAND_INS[path]
      if (standIn && !NODE_ONLY.test(importer))
        return { path: join(src, 'browser/builtins', standIn), sideEffects: false }
      return { path, namespace: 'absent', sideEffects: false }
    })
    plugin.onResolve({ filter: /^(sharp|onnxruntime-node)$/ }, ({ path }) => {
      return { path, external: true, sideEffects: false }
    })
    plugin.onLoad({ filter: /.*/, namespace: 'absent' }, () => ({ contents: 'module.exports = {}' }))
    plugin.onResolve({ filter: /^\.\.?\// }, ({ path, resolveDir, kind }) => {
      if (!resolveDir.startsWith(src) || kind === 'entry-point' || path.includes('generated')) return null
      return { path: join(resolveDir, path), sideEffects: false }
    })
    plugin.onLoad({ filter: /src[\\/]util[\\/]version\.ts$/ }, async () => {
      const { version } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8'))
      return { contents: `export const VERSION = ${JSON.stringify(version)}`, loader: 'ts' }
    })
  },
}

const SHARED = {
  absWorkingDir: root,
  bundle: true,
  format: 'esm',
  platform: 'browser',
  target: 'es2022',
  plugins: [browserOnly],
  metafile: true,
  logLevel: 'warning',
}

/** The library; `write: false` only looks. */
export function buildLibrary(out, options = {}) {
  return build({
    ...SHARED,
    entryPoints: { index: join(src, 'browser/index.ts') },
    outdir: out,
    external: ['onnxruntime-web/*'],
    sourcemap: true,
    ...options,
  })
}

/** The page and its worker, with onnxruntime-web inside but for its WebAssembly files, which lie in `ort/`. */
export function buildPage(out, options = {}) {
  return bundlePage('src/browser/page', out, options)
}

/** The page of the server and its worker; the server gives them the same WebAssembly files. */
export function buildServePage(out, options = {}) {
  return bundlePage('src/serve/page', out, options)
}

function bundlePage(folder, out, options) {
  return build({
    ...SHARED,
    entryPoints: {
      main: join(root, folder, 'main.ts'),
      worker: join(root, folder, 'worker.ts'),
    },
    outdir: out,
    splitting: true,
    minify: true,
    conditions: ['onnxruntime-web-use-extern-wasm'],
    ...options,
  })
}

/** What of a page is no code. */
async function copyStatic(folder, out) {
  for (const name of ['index.html', 'page.css']) await cp(join(src, folder, name), join(out, name))
  await cp(join(src, 'browser/page/shared/base.css'), join(out, 'base.css'))
  await cp(join(dirname(require.resolve('uplot/package.json')), 'dist/uPlot.min.css'), join(out, 'uPlot.css'))
}

/** WebAssembly of the two bundles that the engines load. */
const ORT_FILES = ['', '.asyncify'].flatMap(kind =>
  ['mjs', 'wasm'].map(extension => `ort-wasm-simd-threaded${kind}.${extension}`),
)

/** The library and the site, into `out`. */
export async function buildBrowser(out) {
  const page = join(out, 'page')
  await rm(page, { recursive: true, force: true })
  await mkdir(join(page, 'ort'), { recursive: true })
  await buildLibrary(out)
  await buildPage(page)
  await copyStatic('browser/page', page)
  for (const name of ORT_FILES) await cp(require.resolve(`onnxruntime-web/${name}`), join(page, 'ort', name))
  await mkdir(join(page, 'demo'), { recursive: true })
  await cp(join(root, 'fixtures/demo/digits_cnn.onnx'), join(page, 'demo/digits_cnn.onnx'))
  await writeDigits(join(page, 'demo'))

  await writeFile(join(page, 'LICENSE.txt'), await readFile(join(root, 'LICENSE')))
}

/** The server's page, into `out`. */
export async function buildServed(out) {
  await rm(out, { recursive: true, force: true })
  await mkdir(out, { recursive: true })
  await buildServePage(out)
  await copyStatic('serve/page', out)
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const option = process.argv.indexOf('--out')
  const out = option < 0 ? join(root, 'dist') : process.argv[option + 1]
  await buildBrowser(join(out, 'browser'))
  await buildServed(join(out, 'serve/page'))
  console.error(
    `wrote ${relative(root, join(out, 'browser'))} and ${relative(root, join(out, 'serve/page'))}`,
  )
}
